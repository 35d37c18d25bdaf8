// The maps of attention. A head has a square, row t being where token t looks; only the lower triangle is in the data.

const Maps = {};

// Where in the bytes of all heads the row of a token begins.
Maps.row = function (page, layer, head, token) {
  const triangle = (page.T * (page.T + 1)) / 2;
  const from = (layer * page.H + head) * triangle + (token * (token + 1)) / 2;
  return page.weights.subarray(from, from + token + 1);
};

// The head that takes most from where `past` of a token lies, on average over all tokens but the first two, of which
// the token before is the first or none.
Maps.foremost = function (page, past) {
  let best = { share: -1 };
  for (let layer = 0; layer < page.L; layer++) {
    for (let head = 0; head < page.H; head++) {
      let sum = 0;
      for (let token = 2; token < page.T; token++) sum += Maps.row(page, layer, head, token)[past(token)];
      const share = sum / (page.T - 2);
      if (share > best.share) best = { layer, head, share };
    }
  }
  return best;
};

// A head's map on a canvas, one pixel for a weight; what lies above the diagonal stays clear.
Maps.paint = function (canvas, page, layer, head) {
  canvas.width = canvas.height = page.T;
  const context = canvas.getContext("2d");
  const image = context.createImageData(page.T, page.T);
  for (let token = 0; token < page.T; token++) {
    const row = Maps.row(page, layer, head, token);
    for (let past = 0; past <= token; past++) {
      image.data.set(page.palette[row[past]], 4 * (token * page.T + past));
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
};

// The colours of all weights that there are, as bytes.
Maps.palette = function (levels) {
  return Array.from({ length: levels + 1 }, (_, level) => {
    const parts = colour(level, levels).match(/\d+/g).map(Number);
    return [...parts, 255];
  });
};

// A token on an axis, where there is room for some letters.
Maps.label = function (page, token) {
  const letters = Array.from(page.text(token));
  return letters.length > 10 ? `${letters.slice(0, 9).join("")}…` : letters.join("");
};

// How the large map lies in its canvas: the room for labels, the side of the square and of one weight.
Maps.layout = function (page, width) {
  const longest = Math.max(...page.tokens.map((_, token) => Array.from(Maps.label(page, token)).length));
  const room = longest === 1 ? 18 : 10 + 7 * longest;
  const labels = (width - room) / page.T >= (longest === 1 ? 6 : 9);
  const edge = labels ? room : 2;
  const side = Math.min(width - edge, page.T * 34);
  return { edge, labels, turned: longest > 1, side, cell: side / page.T };
};

// The large map with its tokens on both axes, the row of the token that looks, and the weight that is pointed at.
Maps.large = function (canvas, page, state) {
  const layout = Maps.layout(page, canvas.parentElement.clientWidth);
  const { edge, side, cell } = layout;
  const all = edge + side + 2;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(all * ratio);
  canvas.style.width = canvas.style.height = `${all}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  hatch(context, edge, edge, side);
  context.imageSmoothingEnabled = false;
  const pixels = Maps.paint(document.createElement("canvas"), page, state.layer, state.head);
  context.drawImage(pixels, edge, edge, side, side);
  if (layout.labels) Maps.labels(context, page, layout, state);
  const style = getComputedStyle(document.documentElement);
  context.strokeStyle = style.getPropertyValue("--accent");
  context.lineWidth = 1.5;
  context.strokeRect(edge, edge + state.token * cell, (state.token + 1) * cell, cell);
  context.lineWidth = 2.5;
  context.strokeRect(edge + state.past * cell, edge + state.token * cell, cell, cell);
  return layout;
};

Maps.labels = function (context, page, layout, state) {
  const style = getComputedStyle(document.documentElement);
  const size = layout.cell + 1;
  const font = `${Math.min(11.5, size)}px ${style.getPropertyValue("--mono")}`;
  const { edge, turned } = layout;
  const write = (text, chosen, x, y, angle) => {
    context.save();
    context.translate(x, y);
    context.rotate(angle);
    context.font = chosen ? `bold ${font}` : font;
    context.fillStyle = style.getPropertyValue(chosen ? "--accent" : "--ink");
    context.textAlign = turned ? (angle ? "left" : "right") : "center";
    context.textBaseline = "middle";
    context.fillText(text, 0, 0);
    context.restore();
  };
  for (let token = 0; token < page.T; token++) {
    const middle = edge + (token + 0.5) * layout.cell;
    const before = turned ? edge - 5 : 8;
    write(Maps.label(page, token), token === state.token, before, middle, 0);
    write(Maps.label(page, token), token === state.past, middle, before, turned ? -Math.PI / 2 : 0);
  }
};

// The weight under a point of the large map: the token that looks, and the one that it looks at; null outside.
Maps.at = function (canvas, page, layout, event) {
  const box = canvas.getBoundingClientRect();
  const scale = (layout.edge + layout.side + 2) / box.width;
  const [past, token] = [event.clientX - box.left, event.clientY - box.top].map((distance) =>
    Math.floor((distance * scale - layout.edge) / layout.cell),
  );
  return past < 0 || token < 0 || token >= page.T || past > token ? null : { token, past };
};
