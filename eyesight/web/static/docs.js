"use strict";
function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function resolved(schema, all, depth = 0) {
  if (!schema || depth > 6) return "…";
  if (schema.$ref) return resolved(all[schema.$ref.split("/").pop()], all, depth + 1);
  if (schema.anyOf) return schema.anyOf.map(one => resolved(one, all, depth + 1)).map(one => typeof one === "string" ? one : JSON.stringify(one)).join(` ${t("docs.or")} `);
  if (schema.type === "array") return [resolved(schema.items || (schema.prefixItems || [])[0], all, depth + 1)];
  if (schema.properties) return Object.fromEntries(Object.entries(schema.properties).map(([name, part]) => [name, resolved(part, all, depth + 1)]));
  return schema.format || schema.type || "anything";
}

function operation(path, method, what, all) {
  const section = element("section", "", element("h2", `${method.toUpperCase()} ${path}`), element("p", what.description || what.summary));
  const list = element("ul");
  for (const one of what.parameters || []) list.append(element("li", `${one.in} ${one.name}${one.required ? "" : " " + t("docs.optional")}: ${one.description || resolved(one.schema, all)}`));
  if (what.requestBody) list.append(element("li", t("docs.body") + ": " + Object.keys(what.requestBody.content).join(` ${t("docs.or")} `)));
  section.append(list);
  for (const [status, response] of Object.entries(what.responses)) {
    const schema = response.content && response.content["application/json"] && response.content["application/json"].schema;
    section.append(element("p", `${status}: ${response.description}`));
    if (schema && status === "200") section.append(element("pre", JSON.stringify(resolved(schema, all), null, 2)));
  }
  return section;
}

fetch("/openapi.json").then(response => response.json()).then(api => {
  const all = (api.components || {}).schemas || {}, place = document.getElementById("paths");
  for (const [path, methods] of Object.entries(api.paths)) for (const [method, what] of Object.entries(methods)) place.append(operation(path, method, what, all));
}).catch(() => document.getElementById("paths").append(element("p", t("docs.failed"))));
