"""An agent in plain Python, written from docs/protocol.md: it needs nats-py and nothing of Podium."""

import asyncio
import json
import os

import nats

ID, URL, START = os.getenv("AGENT_ID", "words-py"), os.getenv("NATS_URL", "nats://127.0.0.1"), os.urandom(8).hex()
WORK = {"word_count": lambda text: {"words": len(text.split())}, "wait": lambda seconds: asyncio.sleep(seconds, "done")}
ME = {"agentId": ID, "agentType": "words", "taskTypes": [*WORK], "maxConcurrentTasks": 4, "incarnation": START}
bus, running, unconfirmed, seen = nats.NATS(), {}, {}, set()  # by taskId: in work; results to be confirmed; all
now = {"registered": False, "beat": 30, "leaving": False}


async def say(what, **body):
    await bus.publish(f"mcp.agent.{ID}.{what}", json.dumps(body).encode())


async def work(task_id, task):
    try:
        result = WORK[task["taskType"]](**(task.get("payload") or {}))
        how = {"status": "COMPLETED", "result": await result if asyncio.iscoroutine(result) else result}
    except Exception as error:
        how = {"status": "FAILED", "error": {"type": type(error).__name__, "message": str(error)}}
    await end(task_id, **how)


async def end(task_id, **how):
    running.pop(task_id)
    unconfirmed[task_id] = {"taskId": task_id, **how}  # kept, and said again, until it is confirmed
    await say("result", result=unconfirmed[task_id])


async def heard(message):
    said = json.loads(message.data)
    task_id = said.get("taskId") or said.get("task", {}).get("taskId")
    match said.get("notice") if said.get("incarnation", START) == START else "for another process of our name":
        case None if "task" in said and task_id not in seen:  # an assignment may come twice
            if now["leaving"] or len(running) >= ME["maxConcurrentTasks"]:
                return await say("status", status={"taskId": task_id, "refused": True})
            seen.add(task_id)
            running[task_id] = asyncio.create_task(work(task_id, said["task"]))
        case "REGISTERED" | "REGISTER_AGAIN" as notice:
            now.update(registered=notice == "REGISTERED", beat=said.get("heartbeatIntervalMs", 0) // 1000 or 30)
        case "RESULT_CONFIRMED":
            unconfirmed.pop(task_id, None)
        case "TASK_CANCELLED" if task_id in running:
            running[task_id].cancel()
            await end(task_id, status="CANCELLED")
        case "DRAIN":
            now["leaving"] = True
        case "REGISTRATION_REFUSED" if said["code"] == 409:
            os._exit(1)  # another process has our name


async def again():
    await say("register", registration=ME)


async def main():
    await bus.connect(URL, name=ID, max_reconnect_attempts=-1, reconnected_cb=again)
    for what in ("task", "status"):
        await bus.subscribe(f"mcp.agent.{ID}.{what}", cb=heard)
    second = 0
    while running or unconfirmed or not now["leaving"]:
        if second % now["beat"] == 0 or not now["registered"]:
            await (say("heartbeat", agentId=ID, incarnation=START) if now["registered"] else again())
        for result in list(unconfirmed.values()) if second % 5 == 0 else ():
            await say("result", result=result)
        await asyncio.sleep(1)
        second += 1
    await say("status", status={"state": "STOPPED"}, incarnation=START)
    await bus.drain()


asyncio.run(main())
