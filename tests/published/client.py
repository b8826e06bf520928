"""Predictions with one of the two Python clients: a job as JSON comes in on a line, a JSON line a chunk goes out.

After a job's chunks comes an empty line.

python client.py flowise|headrace < jobs
"""

import importlib
import json
import sys
from typing import Any

module: Any = importlib.import_module(sys.argv[1])


def asked(job: dict[str, Any]) -> None:
    data = job["data"]
    for name, kind in (("history", module.IMessage), ("uploads", module.IFileUpload)):
        if name in data:
            data[name] = [kind(**item) for item in data[name]]
    client = getattr(module, sys.argv[1].title())(job["baseUrl"], job.get("apiKey"))
    try:
        for chunk in client.create_prediction(module.PredictionData(**data)):
            print(json.dumps({"chunk": chunk if isinstance(chunk, dict) else json.loads(chunk)}))
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))


for line in sys.stdin:
    asked(json.loads(line))
    print(flush=True)
