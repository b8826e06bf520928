import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

const PLAYGROUND = "playground/"; // modules that both pages use stay files of their own, beside the studio's folder

/** The policy forbids style attributes, and Svelte wraps components that are given CSS variables in an element with one. */
const withoutStyleAttributes: Plugin = {
  name: "without-style-attributes",
  enforce: "post",
  transform: (code) => code.replaceAll("{ style: 'display: contents' }", "null"), // studio.css says the same
};

export default defineConfig({
  base: "./",

  plugins: [
    svelte({
      // Elements are made one by one: under the page's policy no markup is ever parsed.
      compilerOptions: { fragments: "tree" },
    }),
    withoutStyleAttributes,
  ],
  build: {
    outDir: "../src/headrace/server/studio",
    emptyOutDir: true,
    target: "es2023",
    modulePreload: false,
    reportCompressedSize: false,
    rollupOptions: {
      input: "src/main.ts",
      external: (id) => id.startsWith(PLAYGROUND),
      output: {
        entryFileNames: "studio.js",
        chunkFileNames: "[name].js",
        assetFileNames: "studio[extname]",
        paths: (id) => id.replace(PLAYGROUND, "../"),
      },
    },
  },
});
