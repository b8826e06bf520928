/** Where the nodes of a flow are drawn: as in its file, but closer together, and such that none touches another. */

export const WIDTH = 190;
export const HEIGHT = 52;
const GAP_X = 40;
const GAP_Y = 16;

/** The places of nodes by their ids. */
export function placed(nodes, edges) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  let spots = nodes.map((node) => ({ id: node.id, ...absolute(node, byId) }));
  let [kx, ky] = closest(spots, edges);
  if (!kx) {
    spots = layered(nodes, edges); // nodes of a file that somebody wrote by hand may all lie in one place
    kx = ky = 1;
  }
  const xs = drawnTogether(
    spots.map((spot) => spot.x * kx),
    WIDTH + GAP_X,
  );
  const ys = drawnTogether(
    spots.map((spot) => spot.y * ky),
    HEIGHT + GAP_Y,
  );
  return new Map(spots.map(({ id, x, y }) => [id, { x: xs.get(x * kx), y: ys.get(y * ky) }]));
}

/** Where each coordinate goes when the empty space between two of them is at most `most`, counted from the first. */
function drawnTogether(values, most) {
  const sorted = [...new Set(values)].sort((one, other) => one - other);
  const places = new Map();
  let place = 0;
  for (const [at, value] of sorted.entries()) {
    if (at) place += Math.min(value - sorted[at - 1], most);
    places.set(value, place);
  }
  return places;
}

/** A node inside another one has its place counted from there. */
function absolute(node, byId, depth = 0) {
  const { x = 0, y = 0 } = node.position ?? {};
  const parent = depth < 5 && byId.get(node.parentNode);
  if (!parent) return { x: Number(x) || 0, y: Number(y) || 0 };
  const outer = absolute(parent, byId, depth + 1);
  return { x: outer.x + Number(x), y: outer.y + Number(y) + 80 };
}

/** Columns by the longest way to each node. */
function layered(nodes, edges) {
  const column = new Map(nodes.map((node) => [node.id, 0]));
  for (let round = 0; round < nodes.length; round++) {
    for (const { source, target } of edges) {
      if (column.has(source) && column.get(target) <= column.get(source) && column.get(source) < nodes.length)
        column.set(target, column.get(source) + 1);
    }
  }
  const rows = new Map();
  return nodes.map(({ id }) => {
    const x = column.get(id);
    rows.set(x, (rows.get(x) ?? -1) + 1);
    return { id, x: x * (WIDTH + GAP_X), y: rows.get(x) * (HEIGHT + GAP_Y) };
  });
}

/** The factors for both directions: arrows that lead to the right go on doing so, and nothing touches. */
function closest(spots, edges) {
  const x = new Map(spots.map((spot) => [spot.id, spot.x]));
  const steps = edges.map(({ source, target }) => x.get(target) - x.get(source)).filter((step) => step > WIDTH / 2);
  const least = steps.length ? Math.min(2, (WIDTH + GAP_X) / Math.min(...steps)) : 0.4;
  for (let kx = least; kx <= 2.2; kx += 0.2) {
    for (let ky = 0.1; ky <= 2; ky += 0.1) if (!touching(spots, kx, ky)) return [kx, ky];
  }
  return [0, 0];
}

function touching(spots, kx, ky) {
  for (let one = 0; one < spots.length; one++) {
    for (let other = one + 1; other < spots.length; other++) {
      const dx = Math.abs(spots[one].x - spots[other].x) * kx;
      const dy = Math.abs(spots[one].y - spots[other].y) * ky;
      if (dx < WIDTH + GAP_X && dy < HEIGHT + GAP_Y) return true;
    }
  }
  return false;
}
