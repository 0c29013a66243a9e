"use strict";
// The classifier: its ONNX file in the ONNX Runtime, one thread, nothing fetched.

const parts = globalThis.eyesightParts;
const facts = parts.facts;
const preparation = { depth: 16, ...facts.preparation };
const shape = [preparation.channels, preparation.height + 2 * preparation.pad, preparation.width + 2 * preparation.pad];

async function openSession() {
  const runtime = globalThis.eyesightRuntime;
  const [wasm, model] = await Promise.all(["wasm", "model"].map((name) => unpack(fromBase64(parts[name]), "gzip")));
  parts.wasm = parts.model = "";
  runtime.env.wasm.wasmBinary = wasm.buffer;
  runtime.env.wasm.numThreads = 1;
  runtime.env.logLevel = "error";
  return runtime.InferenceSession.create(model, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
}

// What the classifier says of prepared pixels, uint8 C·H·W.
async function answer(pixels) {
  const session = await globalThis.eyesight.ready;
  const begun = performance.now();
  const tensor = new globalThis.eyesightRuntime.Tensor("uint8", pixels, [1, ...shape]);
  const outputs = await session.run({ pictures: tensor });
  const { probabilities, set, unlike, heat } = outputs;
  return {
    probabilities: Array.from(probabilities.data),
    set: set ? Array.from(set.data, Boolean) : null,
    unlike: unlike ? unlike.data[0] : null,
    heat: heat ? { height: heat.dims[1], width: heat.dims[2], values: Array.from(heat.data) } : null,
    milliseconds: performance.now() - begun,
  };
}

async function preparedFrom(bytes) {
  return prepare(await decode(bytes, preparation.depth), preparation);
}

globalThis.eyesight = {
  ready: openSession(),
  answer,
  // For whoever checks the page: pixels and answer of an encoded file, or of prepared pixels.
  async check(base64, encoded = true) {
    const bytes = fromBase64(base64);
    const begun = performance.now();
    const pixels = encoded ? await preparedFrom(bytes) : bytes;
    const preparing = performance.now() - begun;
    const given = await answer(pixels);
    return { ...given, name: judged(given).order[0].name, pixels: toBase64(pixels), preparing };
  },
};
