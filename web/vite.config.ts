import { gzipSync } from "node:zlib";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const MODULES = fileURLToPath(new URL("node_modules/", import.meta.url));

/** The compiled parts: packed here, since not every server packs what it sends. */
const COMPILED = {
  "mujoco.bin": "@mujoco/mujoco/mujoco.wasm",
  "onnxruntime.bin": "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
};

function packed(): Plugin {
  return {
    name: "packed",
    apply: "build",
    generateBundle() {
      for (const [fileName, path] of Object.entries(COMPILED)) {
        const source = gzipSync(readFileSync(MODULES + path), { level: 9 });
        this.emitFile({ type: "asset", fileName, source });
      }
    },
  };
}

/**
 * MuJoCo's functions as closures.
 *
 * Emscripten writes the source text of each function that it binds and has it evaluated,
 * which a strict Content Security Policy forbids. These do the same without a text.
 */
const CLOSURES: [string, string][] = [
  [
    "var invokerFn = new Function(...args, invokerFnBody)(...closureArgs);",
    `var invokerFn = function (...given) {
      checkArgCount(
        given.length, minArgs, expectedArgCount, humanName, throwBindingError);
      var destructors = needsDestructorStack ? [] : null;
      var wired = [cppTargetFunc];
      if (isClassMethodFunc) { wired.push(argTypes[1].toWireType(destructors, this)); }
      for (var i = 0; i < expectedArgCount; ++i) {
        wired.push(argTypes[i + 2].toWireType(destructors, given[i]));
      }
      var rv = cppInvokerFunc(...wired);
      if (needsDestructorStack) {
        runDestructors(destructors);
      } else {
        for (var i = isClassMethodFunc ? 1 : 2; i < argTypes.length; ++i) {
          var destroy = argTypes[i].destructorFunction;
          if (destroy !== null) { destroy(wired[isClassMethodFunc ? i : i - 1]); }
        }
      }
      if (returns) { return argTypes[0].fromWireType(rv); }
    };`,
  ],
  [
    "var invokerFunction = new Function(...params, functionBody)(...args);",
    `var invokerFunction = function (obj, func, destructorsRef, place) {
      var given = [];
      var offset = 0;
      for (var i = 0; i < argCount; ++i) {
        given.push(types[i].readValueFromPointer(place + offset));
        offset += types[i].argPackAdvance;
      }
      var self = kind === 0 ? obj : undefined;
      var rv = kind === 1 ? new func(...given) : func.call(self, ...given);
      if (!retType.isVoid) { return emval_returnValue(retType, destructorsRef, rv); }
    };`,
  ],
  ["return new URL('mujoco.wasm', import.meta.url).href;", "return 'mujoco.wasm';"],
];

function replaced(code: string, pairs: [string, string][], id: string): string {
  for (const [from, to] of pairs) {
    if (!code.includes(from)) {
      throw new Error(`${id} has changed: it has no longer ${from}`);
    }
    code = code.replaceAll(from, () => to);
  }
  return code;
}

function strict(): Plugin {
  return {
    name: "strict",
    enforce: "pre",
    apply: "build",
    transform(code, id) {
      if (id.endsWith("@mujoco/mujoco/mujoco.js")) {
        return { code: replaced(code, CLOSURES, id), map: null };
      }
      if (id.endsWith("ort.wasm.bundle.min.mjs")) {
        const name = "ort-wasm-simd-threaded.wasm";
        const wasm: [string, string] = [
          `new URL("${name}",import.meta.url)`,
          `new URL("x:${name}")`,
        ];
        return { code: replaced(code, [wasm], id), map: null };
      }
      return null;
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [strict(), packed()],
  build: {
    outDir: "../export/assets",
    emptyOutDir: true,
    assetsDir: ".",
    target: "es2022",
    chunkSizeWarningLimit: 2000,
    modulePreload: { polyfill: false },
    rollupOptions: { external: ["module"] },
  },
  test: { testTimeout: 120_000, include: ["tests/**/*.test.ts"] },
});
