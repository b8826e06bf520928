import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { expect, test } from "vitest";

const LIMIT = 8000; // bytes, minified and compressed

async function bundle(contents: string): Promise<string> {
  const resolveDir = fileURLToPath(new URL("../src", import.meta.url));
  const { outputFiles } = await build({
    stdin: { contents, resolveDir },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    logLevel: "error",
    platform: "browser",
    plugins: [
      {
        name: "refuse what a browser has not", // and whatever is not ours
        setup: ({ onResolve }) =>
          onResolve({ filter: /^[^.]/ }, ({ path }) => ({ errors: [{ text: `imports ${path}` }] })),
      },
    ],
  });
  return outputFiles[0]?.text ?? "";
}

test("the whole library is small, and imports nothing", async () => {
  const code = await bundle('export * from "./index.ts"');
  expect(code).toContain("HeadraceClient");
  expect(gzipSync(code, { level: 9 }).length).toBeLessThan(LIMIT);
});

test("who imports only a part gets only that", async () => {
  expect((await bundle('import { Decoder } from "./index.ts"; console.log(Decoder)')).length).toBeLessThan(3000);
  expect((await bundle('import "./index.ts"')).trim()).toBe("");
});
