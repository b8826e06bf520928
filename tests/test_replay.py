"""Recordings of the server whose clients we serve, replayed here. They lie beside the project, where it has them."""

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from servers import KEY, Server, free_port, until_connected

RECORDINGS = Path(__file__).parents[2] / "shared" / "flowise"
SCENARIOS = (
    "abort_chatflow advanced_structured_output bad_bodies conversation_history_in_body conversation_one_turn "
    "conversation_python_sdk_body conversation_session_ids conversation_template empty_answer_and_question "
    "error_cut_mid_stream error_upstream_401 input_moderation list_output_parser llm_chain_prompt_values "
    "llm_chain_single_variable long_stream override_config_off override_config_on post_processing conversational_agent "
    "tool_agent_calculator tool_agent_detailed_streaming tool_agent_two_calls tool_agent_bad_calls "
    "custom_tool_return_direct custom_function_ending "
    "retrieval_qa retriever_and_calculator_agent unicode_content unknown_flow v2_condition v2_errors "
    "v2_agent_tool_approval v2_agent_tool_approval_chain v2_agent_tool_approval_middle v2_http_denied "
    "v2_human_in_the_loop v2_human_input_errors v2_human_input_feedback_off "
    "v2_human_input_sessions v2_human_input_simple v2_human_input_two_stops v2_iterations "
    "v2_agent_tools v2_knowledge_vector_store v2_llm_memory_two_turns v2_loop v2_parallel_branches "
    "v1_seq_branch_merge v1_seq_essay_loop v1_seq_tool_approval v1_supervisor_worker "
    "v2_structured_all_types v2_tool_node v2_translator v2_unicode_and_thinking"
).split()

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings of Flowise are not beside this project")


@pytest.fixture(scope="module")
def recorded_model(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The scripted model that the recordings were made with."""
    port = free_port()
    command = [sys.executable, str(RECORDINGS / "mock_openai.py"), "--port", str(port)]
    log = tmp_path_factory.mktemp("model") / "log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            until_connected(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.mark.parametrize("scenario", [*SCENARIOS, pytest.param("heartbeat", marks=pytest.mark.soak)])
def test_a_recording_replays_the_same(
    server: Server, recorded_model: str, scenario: str, request: pytest.FixtureRequest
) -> None:
    if scenario == "heartbeat" and not request.config.getoption("markexpr"):
        pytest.skip("half a minute of silence is listened to with -m soak")
    tool = [sys.executable, str(Path(__file__).with_name("replaying.py")), str(RECORDINGS)]
    tool += ["--url", server.url, "--key", KEY, "--mock", recorded_model]
    result = subprocess.run(
        [*tool, str(RECORDINGS / "transcripts" / scenario)], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 of 1 scenarios replay the same" in result.stdout
