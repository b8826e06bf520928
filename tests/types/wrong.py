"""What the type checkers must refuse: `mypy --strict` and pyright complain of every line marked so, and of no other."""

from headrace import AsyncHeadrace, ContinueFor, FileUpload, Headrace, HistoryMessage, Prediction, PredictionData
from headrace.errors import HeadraceError
from headrace.events import Token

client = Headrace()
PredictionData(question="Hi")  # wrong: a flow is needed
PredictionData(chatflowId="flow")  # wrong: so is a question
PredictionData("flow", 5)  # wrong: it is a text
PredictionData("flow", "Hi", chatID="chat")  # wrong: there is no such field
PredictionData("flow", "Hi", streaming="yes")  # wrong: it is a boolean
PredictionData("flow", "Hi", history=["Hi"])  # wrong: turns are messages
PredictionData("flow", "Hi", uploads=[{"name": "a.png"}])  # wrong: uploads are records
PredictionData("flow", "Hi").answer  # wrong: nor does the data have an answer
client.stream("flow")  # wrong: a question is needed
client.stream("flow", "Hi", chatId="chat")  # wrong: options are in snake case
client.stream("flow", "Hi", on_disconnect="stop")  # wrong: there is no such policy
client.stream("flow", "Hi", on_disconnect=ContinueFor("30"))  # wrong: seconds are a number
client.stream("flow", "Hi", history=[{"role": "user"}])  # wrong: history has typed messages
client.stream("flow", "Hi", uploads=["a.png"])  # wrong: so have uploads
client.stream("flow", "Hi").data  # wrong: a stream has none
client.predict("flow", "Hi", streaming=True)  # wrong: how it is answered is the method's matter
client.predict("flow", "Hi").message  # wrong: an answer has a text
client.resume("run", after="3")  # wrong: numbers of events are numbers
client.start("flow", "Hi").state == "over"  # wrong: a run is never in this state
Headrace(timeout="30s")  # wrong: times are numbers
Headrace("http://localhost:3000", "key", 30)  # wrong: and named
Headrace(retries=3)  # wrong: it is `attempts`
FileUpload.from_bytes("text", "a.txt")  # wrong: bytes are bytes
FileUpload.from_bytes(b"text")  # wrong: and have a name
FileUpload.from_path(5)  # wrong: a path is a text or a path
HistoryMessage.user(b"Hi")  # wrong: what was said is a text
HeadraceError("x").code = 5  # wrong: codes are texts
Token("x").data = "y"  # wrong: events are not changed
answer: str = client.predict("flow", "Hi")  # wrong: it is a Prediction


async def asynchronous() -> Prediction:
    """The same with asyncio."""
    other = AsyncHeadrace()
    with other:  # wrong: it is `async with`
        pass
    for _ in other.stream("flow", "Hi"):  # wrong: it is `async for`
        pass
    return other.predict("flow", "Hi")  # wrong: it is awaited
