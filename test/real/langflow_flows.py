"""Writes two flows made of the installed Langflow's own components: `echo.json`, and `fails.json`, whose input raises an error."""

import json
import sys
from pathlib import Path

try:
    from lfx.components.input_output import ChatInput, ChatOutput
    from lfx.graph import Graph
except ImportError:  # Before 1.6.
    from langflow.components.input_output import ChatInput, ChatOutput
    from langflow.graph import Graph

RAISES = "async def message_response(self) -> Message:\n        raise ValueError('sk-planted-secret is refused')\n"

chat_input = ChatInput(_id="ChatInput-1")
chat_output = ChatOutput(_id="ChatOutput-1").set(input_value=chat_input.message_response)
echo = Graph(chat_input, chat_output).dump(name="echo")["data"]
folder = Path(sys.argv[1])
(folder / "echo.json").write_text(json.dumps(echo))
code = echo["nodes"][0]["data"]["node"]["template"]["code"]
code["value"] = code["value"][: code["value"].index("async def message_response")] + RAISES
(folder / "fails.json").write_text(json.dumps(echo))
