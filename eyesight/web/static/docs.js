"use strict";
function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// A short example of a JSON answer, made from its schema.
function example(schema, schemas, depth = 0) {
  if (!schema || depth > 6) return "…";
  if (schema.$ref) return example(schemas[schema.$ref.split("/").pop()], schemas, depth + 1);
  if (schema.anyOf) {
    const parts = schema.anyOf.map(part => example(part, schemas, depth + 1));
    const words = parts.map(part => (typeof part === "string" ? part : JSON.stringify(part)));
    return words.join(` ${t("docs.or")} `);
  }
  if (schema.type === "array") {
    return [example(schema.items || (schema.prefixItems || [])[0], schemas, depth + 1)];
  }
  if (schema.properties) {
    const fields = Object.entries(schema.properties);
    return Object.fromEntries(fields.map(([key, part]) => [key, example(part, schemas, depth + 1)]));
  }
  return schema.format || schema.type || "anything";
}

function operation(path, method, details, schemas) {
  const description = details.description || details.summary || "";
  const summary = element("summary", "", element("code", `${method.toUpperCase()} ${path}`));
  summary.append(` ${description.split("\n")[0]}`);
  const section = element("details", "", summary);
  const inputs = element("ul");
  for (const parameter of details.parameters || []) {
    const optional = parameter.required ? "" : ` ${t("docs.optional")}`;
    const words = parameter.description || example(parameter.schema, schemas);
    inputs.append(element("li", `${parameter.name}${optional}: ${words}`));
  }
  if (details.requestBody) {
    const kinds = Object.keys(details.requestBody.content).join(` ${t("docs.or")} `);
    inputs.append(element("li", `${t("docs.body")}: ${kinds}`));
  }
  if (inputs.children.length) section.append(inputs);
  const answers = element("ul");
  for (const [status, response] of Object.entries(details.responses)) {
    answers.append(element("li", `${status}: ${response.description}`));
    const content = response.content && response.content["application/json"];
    if (content && status === "200") {
      const json = JSON.stringify(example(content.schema, schemas), null, 2);
      const block = element("pre", json);
      block.tabIndex = 0; // wider than a phone: it must be possible to scroll it by keys
      answers.append(block);
    }
  }
  section.append(answers);
  return section;
}

async function draw() {
  const place = document.getElementById("paths");
  try {
    const api = await (await fetch("/openapi.json")).json();
    const schemas = (api.components || {}).schemas || {};
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, details] of Object.entries(methods)) {
        place.append(operation(path, method, details, schemas));
      }
    }
  } catch {
    place.append(element("p", t("docs.failed")));
  }
}

draw();
