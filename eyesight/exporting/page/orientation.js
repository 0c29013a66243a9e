"use strict";
// How a picture was held, by its EXIF block or else its XMP text, and turning it upright.

function exifOrientation(block) {
  const exif = latin(block.subarray(0, 6)) === "Exif\0\0" ? block.subarray(6) : block;
  const order = latin(exif.subarray(0, 2));
  if (exif.length < 8 || (order !== "II" && order !== "MM")) return 0;
  const little = order === "II";
  const data = view(exif);
  try {
    const start = data.getUint32(4, little);
    const entries = data.getUint16(start, little);
    for (let entry = 0; entry < entries; entry++) {
      const place = start + 2 + 12 * entry;
      if (data.getUint16(place, little) !== 0x0112) continue;
      const long = data.getUint16(place + 2, little) === 4;
      return long ? data.getUint32(place + 8, little) : data.getUint16(place + 8, little);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a damaged block says nothing
  }
  return 0;
}

function xmpOrientation(text) {
  const match = /tiff:Orientation(="|>)([0-9])/.exec(text);
  return match ? Number(match[2]) : 0;
}

function orientationOf({ exif, xmp }) {
  const value = (exif && exifOrientation(exif)) || (xmp && xmpOrientation(xmp)) || 1;
  return value >= 2 && value <= 8 ? value : 1;
}

// From a place of the upright picture to one of the stored picture, w × h.
const STORED_AT = {
  2: (x, y, w, h) => [w - 1 - x, y],
  3: (x, y, w, h) => [w - 1 - x, h - 1 - y],
  4: (x, y, w, h) => [x, h - 1 - y],
  5: (x, y, w, h) => [y, x],
  6: (x, y, w, h) => [y, h - 1 - x],
  7: (x, y, w, h) => [w - 1 - y, h - 1 - x],
  8: (x, y, w, h) => [w - 1 - y, x],
};

function upright(image, orientation) {
  const storedAt = STORED_AT[orientation];
  if (!storedAt) return image;
  const { width: w, height: h } = image;
  const [width, height] = orientation >= 5 ? [h, w] : [w, h];
  const start = at(0, 0);
  const across = at(1, 0) - start;
  const down = at(0, 1) - start;
  function at(x, y) {
    const [column, row] = storedAt(x, y, w, h);
    return row * w + column;
  }
  const planes = image.planes.map((stored) => {
    const plane = new Uint8Array(width * height);
    for (let y = 0, place = 0; y < height; y++) {
      let from = start + y * down;
      for (let x = 0; x < width; x++, from += across) plane[place++] = stored[from];
    }
    return plane;
  });
  return { width, height, planes };
}
