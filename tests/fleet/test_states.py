"""The table of an agent's states is closed: it says what may be, and everything else raises."""

import pytest

from podium.exceptions import IllegalTransitionError
from podium.fleet.states import AGENT_MOVES, TRANSITIONS, AgentEvent, AgentState, AgentStateMachine


@pytest.mark.parametrize("state", AgentState)
@pytest.mark.parametrize("event", AgentEvent)
def test_an_event_that_the_table_doesn_t_have_raises_and_changes_nothing(state, event):
    machine = AgentStateMachine(state)
    if event in TRANSITIONS[state]:
        assert machine.process(event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(IllegalTransitionError):
            machine.process(event)
        assert machine.state is state


def test_every_state_has_its_row_and_is_reached():
    assert set(TRANSITIONS) == set(AGENT_MOVES) == set(AgentState)
    assert {to for follow in AGENT_MOVES.values() for to in follow} | {AgentState.REGISTERED} == set(AgentState)


def test_lost_leads_out_only_and_out_is_final():
    assert AGENT_MOVES[AgentState.LOST] == {AgentState.DEREGISTERED}
    assert not AGENT_MOVES[AgentState.DEREGISTERED]
