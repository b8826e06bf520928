"""A prediction with one of the two Python clients, as a process: a job as JSON comes in, a JSON line a chunk goes out.

python client.py flowise|headrace < job.json
"""

import importlib
import json
import sys
from typing import Any


def main() -> None:
    module: Any = importlib.import_module(sys.argv[1])
    job = json.load(sys.stdin)
    data = job["data"]
    for name, kind in (("history", module.IMessage), ("uploads", module.IFileUpload)):
        if name in data:
            data[name] = [kind(**item) for item in data[name]]
    client = getattr(module, sys.argv[1].title())(job["baseUrl"], job.get("apiKey"))
    try:
        for chunk in client.create_prediction(module.PredictionData(**data)):
            print(json.dumps({"chunk": chunk if isinstance(chunk, dict) else json.loads(chunk)}), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))


main()
