"use strict";
// PNG files to the last bit. A canvas would not do: it multiplies colours by their transparency,
// keeps 8 of 16 bits in its own way and may convert colours.

const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // by the type of colour
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

function isPng(bytes) {
  return PNG_SIGNATURE.every((byte, place) => bytes[place] === byte);
}

function pngChunks(bytes) {
  const chunks = { IDAT: [], texts: [] };
  const data = view(bytes);
  let place = 8;
  while (place + 12 <= bytes.length) {
    const length = data.getUint32(place);
    const name = latin(bytes.subarray(place + 4, place + 8));
    const body = bytes.subarray(place + 8, place + 8 + length);
    place += 12 + length;
    if (name === "IEND") break;
    if (name === "IDAT") chunks.IDAT.push(body);
    else if (name.slice(1) === "TXt" || name === "tEXt") chunks.texts.push([name, body]);
    else if (!(name in chunks)) chunks[name] = body;
  }
  return chunks;
}

function pngHeader(chunks) {
  if (!chunks.IHDR || chunks.IHDR.length < 13) throw new BadPicture("damaged");
  const data = view(chunks.IHDR);
  const header = {
    width: data.getUint32(0), height: data.getUint32(4), bits: chunks.IHDR[8],
    colour: chunks.IHDR[9], interlaced: chunks.IHDR[12] === 1,
  };
  header.samples = SAMPLES[header.colour];
  if (!header.samples || ![1, 2, 4, 8, 16].includes(header.bits)) throw new BadPicture("damaged");
  checkSize(header.width, header.height);
  return header;
}

// The samples of every pixel, one after another, as they are stored.
async function pngSamples(chunks, header) {
  const { width, height, bits, samples, interlaced } = header;
  const passes = interlaced ? ADAM7 : [[0, 0, 1, 1]];
  const parts = passes.map(([left, top, across, down]) => {
    const columns = Math.ceil((width - left) / across);
    const rows = Math.ceil((height - top) / down);
    return { left, top, across, down, columns, rows, bytes: Math.ceil((columns * samples * bits) / 8) };
  }).filter((part) => part.columns > 0 && part.rows > 0);
  const length = parts.reduce((sum, part) => sum + part.rows * (1 + part.bytes), 0);
  const total = chunks.IDAT.reduce((sum, body) => sum + body.length, 0);
  const packed = await unpack(joined(chunks.IDAT, total), "deflate", length);
  if (packed.length < length) throw new BadPicture("truncated");
  const values = bits === 16 ? new Uint16Array(width * height * samples) : new Uint8Array(width * height * samples);
  const step = Math.max(1, (samples * bits) >> 3);
  let start = 0;
  for (const part of parts) {
    unfilter(packed, start, part.rows, part.bytes, step);
    scatter(packed, start, part, header, values);
    start += part.rows * (1 + part.bytes);
  }
  return values;
}

function unfilter(data, start, rows, length, step) {
  let above = -1; // where the row above begins
  for (let row = 0; row < rows; row++) {
    const kind = data[start];
    const first = start + 1;
    if (kind > 4) throw new BadPicture("damaged");
    for (let column = 0; kind > 0 && column < length; column++) {
      const left = column >= step ? data[first + column - step] : 0;
      const up = above >= 0 ? data[above + column] : 0;
      const corner = above >= 0 && column >= step ? data[above + column - step] : 0;
      data[first + column] += predicted(kind, left, up, corner);
    }
    above = first;
    start = first + length;
  }
}

function predicted(kind, left, up, corner) {
  if (kind === 1) return left;
  if (kind === 2) return up;
  if (kind === 3) return (left + up) >> 1;
  const sum = left + up - corner;
  const a = Math.abs(sum - left);
  const b = Math.abs(sum - up);
  const c = Math.abs(sum - corner);
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

// Unpack the samples of a pass and put them where they belong.
function scatter(data, start, part, { width, bits, samples }, values) {
  const mask = (1 << bits) - 1;
  for (let row = 0; row < part.rows; row++) {
    const first = start + row * (1 + part.bytes) + 1;
    const line = (part.top + row * part.down) * width;
    for (let column = 0, sample = 0; column < part.columns; column++) {
      const to = (line + part.left + column * part.across) * samples;
      for (let band = 0; band < samples; band++, sample++) {
        if (bits === 8) values[to + band] = data[first + sample];
        else if (bits === 16) values[to + band] = (data[first + 2 * sample] << 8) | data[first + 2 * sample + 1];
        else {
          const bit = sample * bits;
          values[to + band] = (data[first + (bit >> 3)] >> (8 - bits - (bit & 7))) & mask;
        }
      }
    }
  }
}

// A PNG file as planes, transparency on white; `depth` bits of grey samples of 16 bits are used.
async function decodePng(bytes, depth) {
  const chunks = pngChunks(bytes);
  const header = pngHeader(chunks);
  const values = await pngSamples(chunks, header);
  const image = { width: header.width, height: header.height, planes: pngPlanes(values, header, chunks, depth) };
  return upright(image, orientationOf(await pngNotes(chunks)));
}

function pngPlanes(values, header, chunks, depth) {
  const { colour, bits, samples } = header;
  const count = header.width * header.height;
  if (colour === 0 && bits === 16) return [fromDeep(values, depth)];
  if (colour === 3) return fromPalette(values, chunks);
  const shift = bits === 16 ? 8 : 0;
  const scale = bits < 8 ? 255 / ((1 << bits) - 1) : 1;
  const planes = [];
  for (let band = 0; band < samples; band++) {
    const plane = new Uint8Array(count);
    for (let place = 0, from = band; place < count; place++, from += samples) {
      plane[place] = (values[from] >> shift) * scale;
    }
    planes.push(plane);
  }
  if (samples % 2 === 0) return onWhite(planes.slice(0, -1), planes[samples - 1]);
  if (!chunks.tRNS) return planes;
  return onWhite(planes, keyed(planes, clearColour(chunks.tRNS, colour, bits), count));
}

// Samples of 16 bits as 8: 0 … 2^depth - 1 become 0 … 255.
function fromDeep(values, depth) {
  const peak = 2 ** (depth || 16) - 1;
  const plane = new Uint8Array(values.length);
  for (let place = 0; place < plane.length; place++) {
    plane[place] = Math.floor((Math.min(values[place], peak) * 255 + (peak >> 1)) / peak);
  }
  return plane;
}

function fromPalette(values, chunks) {
  const palette = chunks.PLTE || new Uint8Array(0);
  const clear = chunks.tRNS;
  const planes = [0, 1, 2].map((band) => {
    return looked(values, (index) => palette[3 * index + band] ?? index);
  });
  return clear ? onWhite(planes, looked(values, (index) => clear[index] ?? 255)) : planes;
}

function looked(values, valueOf) {
  const table = Uint8Array.from({ length: 256 }, (_, index) => valueOf(index));
  const plane = new Uint8Array(values.length);
  for (let place = 0; place < plane.length; place++) plane[place] = table[values[place]];
  return plane;
}

// The colour that counts as transparent, as its lowest 8 bits.
function clearColour(chunk, colour, bits) {
  const data = view(chunk);
  const bands = colour === 0 ? 1 : 3;
  const clear = Array.from({ length: bands }, (_, band) => data.getUint16(2 * band));
  if (bits === 1) return [clear[0] ? 255 : 0];
  return clear.map((value) => value & 255);
}

function keyed(planes, clear, count) {
  const alpha = new Uint8Array(count).fill(255);
  for (let place = 0; place < count; place++) {
    if (planes.every((plane, band) => plane[place] === clear[band])) alpha[place] = 0;
  }
  return alpha;
}

// Composite on white in the whole numbers that the classifier was trained with.
function onWhite(planes, alpha) {
  return planes.map((plane) => {
    const result = new Uint8Array(plane.length);
    for (let place = 0; place < plane.length; place++) {
      const weight = alpha[place] << 7;
      const sum = plane[place] * weight + 255 * ((255 << 7) - weight) + (128 << 7);
      result[place] = alpha[place] ? (((sum >> 8) + sum) >> 8) >> 7 : 255;
    }
    return result;
  });
}

async function pngNotes(chunks) {
  let { eXIf: exif } = chunks;
  let xmp = "";
  for (const [name, body] of chunks.texts) {
    const [key, value] = await pngText(name, body);
    if (key === "XML:com.adobe.xmp") xmp = latin(value);
    if (key === "Raw profile type exif" && !exif) exif = fromHex(latin(value).split("\n").slice(3).join(""));
  }
  return { exif, xmp };
}

// The key and the bytes of a text, unpacked where it was packed.
async function pngText(name, body) {
  const end = body.indexOf(0);
  const key = latin(body.subarray(0, Math.max(0, end)));
  let value = body.subarray(end + 1);
  let packed = name === "zTXt";
  if (packed) value = value.subarray(1);
  if (name === "iTXt") {
    packed = value[0] === 1;
    value = value.subarray(2);
    for (let skipped = 0; skipped < 2; skipped++) value = value.subarray(value.indexOf(0) + 1);
  }
  return [key, packed ? await unpack(value, "deflate", 1 << 20) : value];
}

function fromHex(text) {
  const pairs = text.match(/[0-9a-f]{2}/gi) || [];
  return Uint8Array.from(pairs, (pair) => parseInt(pair, 16));
}
