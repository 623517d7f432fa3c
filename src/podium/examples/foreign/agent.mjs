// An agent in JavaScript, written from docs/protocol.md: it needs NATS's npm client and nothing of Podium.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@nats-io/transport-node";

const ID = process.env.AGENT_ID || "words-js";
const SLOTS = 4;
const START = randomUUID();
const WORK = {
  word_count: ({ text }) => ({ words: text.split(/\s+/).filter(Boolean).length }),
  wait: ({ seconds }, signal) => sleep(seconds * 1000, "done", { signal }),
};
const ME = { agentId: ID, agentType: "words", taskTypes: Object.keys(WORK), maxConcurrentTasks: SLOTS, incarnation: START };

const running = new Map(); // by taskId: what stops it
const unconfirmed = new Map(); // by taskId: results, kept and said again until they are confirmed
const seen = new Set();
let registered = false, leaving = false, beat = 30;

const servers = process.env.NATS_URL || "nats://127.0.0.1:4222";
const bus = await connect({ servers, name: ID, maxReconnectAttempts: -1 });

const say = (what, body) => bus.publish(`mcp.agent.${ID}.${what}`, JSON.stringify(body));

function end(taskId, how) {
  if (!running.delete(taskId)) return; // it was cancelled meanwhile
  const result = { taskId, ...how };
  unconfirmed.set(taskId, result);
  say("result", { result });
}

async function work(task, signal) {
  try {
    end(task.taskId, { status: "COMPLETED", result: await WORK[task.taskType](task.payload ?? {}, signal) });
  } catch (error) {
    end(task.taskId, { status: "FAILED", error: { type: error.name, message: error.message } });
  }
}

function assigned({ task }) {
  if (seen.has(task.taskId)) return; // an assignment may come twice
  if (leaving || running.size >= SLOTS) return say("status", { status: { taskId: task.taskId, refused: true } });
  const stop = new AbortController();
  seen.add(task.taskId);
  running.set(task.taskId, stop);
  work(task, stop.signal);
}

function noticed(said) {
  if (said.from !== "orchestrator") return; // our own word
  if ((said.incarnation ?? START) !== START) return; // for another process of our name
  switch (said.notice) {
    case "REGISTERED":
      registered = true;
      beat = Math.max(1, Math.floor(said.heartbeatIntervalMs / 1000));
      break;
    case "REGISTER_AGAIN":
      registered = false;
      break;
    case "RESULT_CONFIRMED":
      unconfirmed.delete(said.taskId);
      break;
    case "TASK_CANCELLED": {
      const stop = running.get(said.taskId);
      end(said.taskId, { status: "CANCELLED" });
      stop?.abort();
      break;
    }
    case "DRAIN":
      leaving = true;
      break;
    case "REGISTRATION_REFUSED":
      if (said.code === 409) process.exit(1); // another process has our name
  }
}

const listen = (what, take) =>
  bus.subscribe(`mcp.agent.${ID}.${what}`, { callback: (error, message) => error || take(message.json()) });
listen("task", assigned);
listen("status", noticed);

(async () => {
  for await (const change of bus.status()) if (change.type === "reconnect") registered = false;
})();

for (let second = 0; running.size || unconfirmed.size || !leaving; second++) {
  if (!registered) say("register", { registration: ME });
  else if (second % beat === 0) say("heartbeat", { agentId: ID, incarnation: START });
  if (second % 5 === 0) for (const result of unconfirmed.values()) say("result", { result });
  await sleep(1000);
}
say("status", { status: { state: "STOPPED" }, incarnation: START });
await bus.drain();
