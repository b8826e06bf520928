/** Code for the flow that is open, to be copied as it stands. */

import { BASE } from "./api.js";
import { button, copy, el } from "./dom.js";

const QUESTION = "How do I resume a stream?";
const text = (value) => JSON.stringify(value);
const shell = (value) => `'${value.replaceAll("'", "'\\''")}'`;

const SNIPPETS = {
  Python: ({ flow, question, key }) => `# docs/python.md of Headrace says how its client is installed.
${key ? "import os\n" : ""}from headrace import Headrace

with Headrace(${text(BASE)}${key ? ', api_key=os.environ["HEADRACE_KEY"]' : ""}) as headrace:
    for text in headrace.stream(${text(flow)}, ${text(question)}).text():
        print(text, end="", flush=True)
`,
  TypeScript: ({ flow, question, key }) => `// docs/typescript.md of Headrace says how its client is installed.
import { HeadraceClient } from "headrace-sdk";

const headrace = new HeadraceClient({ baseUrl: ${text(BASE)}${key ? ", apiKey: process.env.HEADRACE_KEY" : ""} });
const stream = headrace.stream(${text(flow)}, ${text(question)});
for await (const text of stream.text()) process.stdout.write(text);
`,
  curl: ({ flow, question, key }) => `curl -N ${shell(`${BASE}/api/v1/prediction/${flow}`)} \\
  -H 'Content-Type: application/json' \\${key ? '\n  -H "Authorization: Bearer $HEADRACE_KEY" \\' : ""}
  -d ${shell(JSON.stringify({ question, streaming: true }))}
`,
  "Web page": ({ flow }) => `<!-- npm install flowise-embed, and put its dist/web.js beside the page -->
<script type="module">
  import Chatbot from "/web.js";

  Chatbot.init({ chatflowid: ${text(flow)}, apiHost: ${text(BASE)} });
</script>
`,
};

/** Shows the code. `bound` says whether the flow needs a key; the key itself is never shown. */
export function showCode(root, { flow, question, bound }) {
  if (!flow) {
    root.replaceChildren(el("p", { class: "empty" }, "Choose a flow to get code for it."));
    return;
  }
  const values = { flow: flow.id, question: question || QUESTION, key: bound };
  root.replaceChildren(
    ...Object.entries(SNIPPETS).map(([name, make]) => {
      const code = make(values);
      return el(
        "section",
        { class: "code", "aria-label": name },
        el(
          "div",
          { class: "bar" },
          el("h2", {}, name),
          button("Copy", (event) => copy(code, event.target), { class: "link" }),
        ),
        el("pre", { tabindex: "0", role: "region", "aria-label": `${name} code` }, el("code", {}, code)),
      );
    }),
  );
}
