"use strict";
// Bytes: base64, unpacking, and numbers in big-endian order.

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function toBase64(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) {
    text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(text);
}

// Everything that `format` ("gzip" or "deflate") unpacks to, or the first `most` bytes of it.
async function unpack(bytes, format, most = Infinity) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  const reader = stream.getReader();
  const parts = [];
  let length = 0;
  try {
    while (length < most) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      length += value.length;
    }
  } catch (error) {
    if (most === Infinity) throw error; // else what came so far may be enough
  }
  reader.cancel().catch(() => {});
  return joined(parts, Math.min(length, most));
}

function joined(parts, length) {
  const whole = new Uint8Array(length);
  let place = 0;
  for (const part of parts) {
    whole.set(part.subarray(0, length - place), place);
    place += part.length;
    if (place >= length) break;
  }
  return whole;
}

function view(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function latin(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

class BadPicture extends Error {
  constructor(key) {
    super(key); // a key of the page's texts
    this.key = key;
  }
}
