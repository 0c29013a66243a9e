"use strict";
// From upright planes to the pixels that the network takes, as in training to the last bit: the
// resize is antialiased, in whole numbers, one direction after the other.

const PRECISION = 22; // bits after the point in a weight
const MOST_BETWEEN = 32 * 2 ** 20; // bytes between the two directions of a resize
const FILTERS = {
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  area: { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bicubic: { reach: 2, weight: cubic },
};

function cubic(signed) {
  const x = Math.abs(signed);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
  return 0;
}

// Halves go to the even number.
function roundEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 ? floor + 1 : floor;
}

function luminance([red, green, blue]) {
  if (!green) return red;
  const grey = new Uint8Array(red.length);
  for (let place = 0; place < grey.length; place++) {
    grey[place] = (red[place] * 19595 + green[place] * 38470 + blue[place] * 7471 + 0x8000) >>> 16;
  }
  return grey;
}

// For each of `count` places between `begin` and `end`: where its inputs start, and their weights.
function weightsOf(length, begin, end, count, filter) {
  const scale = Math.fround(end - begin) / count;
  const stretch = Math.max(1, scale);
  const reach = filter.reach * stretch;
  const size = Math.ceil(reach) * 2 + 1;
  const starts = new Int32Array(count);
  const counts = new Int32Array(count);
  const weights = new Int32Array(count * size);
  for (let place = 0; place < count; place++) {
    const centre = begin + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const number = Math.min(length, Math.trunc(centre + reach + 0.5)) - first;
    const exact = [];
    let sum = 0;
    for (let x = 0; x < number; x++) {
      exact.push(filter.weight((x + first - centre + 0.5) * (1 / stretch)));
      sum += exact[x];
    }
    for (let x = 0; x < number; x++) {
      const value = (sum ? exact[x] / sum : exact[x]) * 2 ** PRECISION;
      weights[place * size + x] = value < 0 ? Math.trunc(value - 0.5) : Math.trunc(value + 0.5);
    }
    starts[place] = first;
    counts[place] = number;
  }
  return { starts, counts, weights, size };
}

function resizeAcross(plane, width, rows, firstRow, count, table) {
  const result = new Uint8ClampedArray(rows * count);
  for (let row = 0, to = 0; row < rows; row++) {
    const line = (firstRow + row) * width;
    for (let place = 0; place < count; place++) {
      const from = line + table.starts[place];
      const first = place * table.size;
      let sum = 1 << (PRECISION - 1);
      for (let x = 0; x < table.counts[place]; x++) sum += plane[from + x] * table.weights[first + x];
      result[to++] = sum >> PRECISION;
    }
  }
  return result;
}

function resizeDown(plane, width, count, table, firstRow) {
  const result = new Uint8ClampedArray(width * count);
  const sums = new Int32Array(width);
  for (let place = 0; place < count; place++) {
    sums.fill(1 << (PRECISION - 1));
    for (let y = 0; y < table.counts[place]; y++) {
      const weight = table.weights[place * table.size + y];
      const line = (table.starts[place] - firstRow + y) * width;
      for (let x = 0; x < width; x++) sums[x] += plane[line + x] * weight;
    }
    for (let x = 0; x < width; x++) result[place * width + x] = sums[x] >> PRECISION;
  }
  return result;
}

// The part of an image within `box` (left, top, right, bottom), at a new size.
function resize(image, width, height, interpolation, box = [0, 0, image.width, image.height]) {
  const [left, top, right, bottom] = box.map(Math.fround);
  const filter = FILTERS[interpolation];
  const across = width !== image.width || left !== 0 || right !== width;
  const down = height !== image.height || top !== 0 || bottom !== height;
  const rows = weightsOf(image.height, top, bottom, height, filter);
  const columns = weightsOf(image.width, left, right, width, filter);
  const planes = image.planes.map((plane) => {
    let first = 0;
    let now = plane;
    if (across) {
      first = rows.starts[0];
      const last = rows.starts[height - 1] + rows.counts[height - 1];
      now = resizeAcross(now, image.width, last - first, first, width, columns);
    }
    return down ? resizeDown(now, width, height, rows, first) : now;
  });
  return { width, height, planes };
}

function cut(image, left, top, width, height) {
  if (width === image.width && height === image.height) return image;
  const planes = image.planes.map((plane) => {
    const result = new Uint8Array(width * height);
    for (let row = 0; row < height; row++) {
      const start = (top + row) * image.width + left;
      result.set(plane.subarray(start, start + width), row * width);
    }
    return result;
  });
  return { width, height, planes };
}

function resizedSize(image, width, height, preparation) {
  const wide = Math.floor(width / preparation.crop_fraction);
  const high = Math.floor(height / preparation.crop_fraction);
  if (preparation.resize === "crop") {
    const scale = Math.max(wide / image.width, high / image.height);
    return [Math.max(wide, Math.trunc(image.width * scale)), Math.max(high, Math.trunc(image.height * scale))];
  }
  if (preparation.resize === "letterbox") {
    const scale = Math.min(wide / image.width, high / image.height);
    return [
      Math.min(wide, Math.max(1, roundEven(image.width * scale))),
      Math.min(high, Math.max(1, roundEven(image.height * scale))),
    ];
  }
  return preparation.resize === "squash" ? [wide, high] : [image.width, image.height];
}

// Resized and cut by the policy. Of a thin picture only the part that is kept is computed.
function fitted(image, preparation) {
  const width = preparation.width || image.width;
  const height = preparation.height || image.height;
  if (preparation.resize === "none" && (image.width !== width || image.height !== height)) {
    throw new BadPicture("size");
  }
  const [wide, high] = resizedSize(image, width, height, preparation);
  const kept = [Math.min(width, wide), Math.min(height, high)];
  const left = roundEven((wide - kept[0]) / 2);
  const top = roundEven((high - kept[1]) / 2);
  const resized = image.width !== wide || image.height !== high;
  if (resized && 4 * Math.max(wide * high, wide * image.height) > MOST_BETWEEN) {
    return fittedPart(image, wide, high, [left, top, left + kept[0], top + kept[1]], preparation.interpolation);
  }
  const whole = resized ? resize(image, wide, high, preparation.interpolation) : image;
  return cut(whole, left, top, ...kept);
}

function fittedPart(image, wide, high, kept, interpolation) {
  const across = image.width / wide;
  const down = image.height / high;
  const left = kept[0] * across;
  const right = Math.min(kept[2] * across, image.width);
  let top = kept[1] * down;
  let bottom = Math.min(kept[3] * down, image.height);
  const width = kept[2] - kept[0];
  const height = kept[3] - kept[1];
  let now = image;
  if (width * (bottom - top) > image.width * height) {
    now = resize(now, now.width, height, interpolation, [0, top, now.width, bottom]);
    [top, bottom] = [0, height];
  }
  return resize(now, width, height, interpolation, [left, top, right, bottom]);
}

function extended(plane, width, height, [top, bottom, left, right], padding) {
  const wide = left + width + right;
  const high = top + height + bottom;
  const result = new Uint8Array(wide * high);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const row = y - top;
      const column = x - left;
      const inside = row >= 0 && row < height && column >= 0 && column < width;
      if (!inside && padding === "zero") continue;
      const nearRow = Math.min(height - 1, Math.max(0, row));
      const nearColumn = Math.min(width - 1, Math.max(0, column));
      result[y * wide + x] = plane[nearRow * width + nearColumn];
    }
  }
  return result;
}

// Upright planes to uint8 C·H·W.
function prepare(image, preparation) {
  const { channels, pad, padding } = preparation;
  const planes = channels === 1 ? [luminance(image.planes)] : image.planes;
  const result = fitted({ ...image, planes }, preparation);
  let margins = [pad, pad, pad, pad];
  if (preparation.resize === "letterbox") {
    const rows = (preparation.height || result.height) - result.height;
    const columns = (preparation.width || result.width) - result.width;
    const above = Math.floor(rows / 2);
    const before = Math.floor(columns / 2);
    margins = [above + pad, rows - above + pad, before + pad, columns - before + pad];
  }
  const bordered = result.planes.map((plane) => extended(plane, result.width, result.height, margins, padding));
  while (bordered.length < channels) bordered.push(bordered[0]);
  return joined(bordered, channels * bordered[0].length);
}
