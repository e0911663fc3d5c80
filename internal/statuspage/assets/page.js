// The status page: asks for api/status each second and draws what it says. No part of an
// answer is ever taken for markup: text goes in as text, and addresses are made here.
"use strict";

const period = 1000; // between two questions, in milliseconds
const patience = 5000; // with one answer
const drawn = { wide: 40, narrow: 16 }; // nodes in the graph; the tables have more
const tripsFor = { wide: 24, narrow: 10 }; // beyond so many nodes, names leave no room for round trips
const kept = 600; // samples of traffic

const kinds = {
  udp: "direct, UDP", lan: "direct, on the LAN", link: "link: TCP or WebSocket", relay: "over a relay", down: "no link now",
};
const $ = (id) => document.getElementById(id);

// ---- elements ----

// el makes an HTML element; children are nodes or texts.
function el(tag, attrs, ...children) {
  return fill(document.createElement(tag), attrs, children);
}

// svg is el for SVG.
function svg(tag, attrs, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attrs, children);
}

function fill(e, attrs, children) {
  set(e, attrs);
  e.append(...children);
  return e;
}

// set changes only what differs, so that nothing is announced or laid out anew for nothing.
function set(e, attrs) {
  for (const [k, v] of Object.entries(attrs || {})) {
    if (v === null || v === undefined || v === false) e.removeAttribute(k);
    else if (e.getAttribute(k) !== String(v)) e.setAttribute(k, v);
  }
}

function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// keep makes the children of parent those of items, and reuses those that are there. What
// stays is not moved, so that it keeps the focus.
function keep(parent, items, keyOf, make, update) {
  const wanted = new Set(items.map(keyOf)), old = new Map();
  for (const c of [...parent.children]) {
    if (wanted.has(c.dataset.key)) old.set(c.dataset.key, c);
    else c.remove();
  }
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let e = old.get(key);
    if (!e) {
      e = make(item);
      e.dataset.key = key;
    }
    update(e, item);
    if (e === at) at = at.nextElementSibling;
    else parent.insertBefore(e, at);
  }
}

// ---- words ----

function bytes(n) {
  if (n < 1000) return `${Math.round(n)} B`;
  let i = -1;
  while (n >= 999.5 && i < 5) { n /= 1000; i++; }
  return `${n >= 100 ? n.toFixed(0) : n.toPrecision(3)} ${"kMGTPE"[i]}B`;
}

function count(n) {
  return n.toLocaleString("en");
}

function trip(ms) {
  if (!ms) return "";
  if (ms < 1) return `${(ms * 1000).toFixed(0)} µs`;
  return ms < 100 ? `${ms.toFixed(1)} ms` : `${ms.toFixed(0)} ms`;
}

function time(ms) {
  return ms < 1000 ? trip(ms) || "0 ms" : `${(ms / 1000).toFixed(1)} s`;
}

function ago(when, now) {
  const s = Math.max(0, (now - Date.parse(when)) / 1000);
  if (!Number.isFinite(s)) return "";
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

function share(part, whole) {
  return whole ? `${Number((100 * part / whole).toPrecision(2))} %` : "0 %";
}

function short(text, max) {
  const c = [...text];
  return c.length > max ? c.slice(0, max - 1).join("") + "…" : text;
}

function plural(n, one, many) {
  return `${count(n)} ${n === 1 ? one : many || one + "s"}`;
}

// ---- what is known ----

const list = (l) => l || [];
let state = null; // the last snapshot
let nodes = new Map(); // by ID, of everybody that the snapshot tells of
let samples = []; // of the traffic
const perPeer = new Map(); // ID to { last, samples }
const places = new Map(); // key of a node in the graph to its angle, so that it stays there

// know makes nodes out of a snapshot.
function know(s) {
  nodes = new Map();
  const at = (id) => {
    if (!nodes.has(id)) nodes.set(id, { id, names: [] });
    return nodes.get(id);
  };
  Object.assign(at(s.node), { self: true, names: s.name ? [s.name] : [] });
  for (const r of list(s.relays)) {
    if (r.id) Object.assign(at(r.id), { relay: r, names: [r.name || r.addr] });
  }
  const h = s.relay;
  for (const r of list(h?.relays)) {
    if (r.id) Object.assign(at(r.id), { trunk: r, names: [r.addr || r.id] });
  }
  for (const a of list(h?.attached)) {
    const n = at(a.id);
    n.attached = a;
    if (list(a.names).length) n.names = a.names;
  }
  for (const p of list(s.peers)) {
    const n = at(p.id);
    n.peer = p;
    if (list(p.names).length) n.names = p.names;
  }
  for (const l of list(s.lan)) at(l.id).lan = l;
  for (const t of list(h?.throttled_nodes)) {
    const n = at(t.id);
    n.throttled = t;
    if (!n.names.length) n.names = list(t.names);
  }
}

// tripTo is the round trip to an attached node: of its link if that was idle for long enough to
// be measured, else of the session.
function tripTo(a) {
  return a.rtt_ms || nodes.get(a.id)?.peer?.rtt_ms || 0;
}

function nameOf(id) {
  return nodes.get(id)?.names[0] || id;
}

// ---- tables ----

// table draws rows of columns { head, cell(row) → text or { text, small, href, kind, class }, num, wide }.
function table(place, label, columns, rows, keyOf, none) {
  if (!rows.length) {
    keep(place, [none], () => "none", () => el("p", { class: "empty" }), (e, text) => say(e, text));
    return;
  }
  keep(place, [0], () => "table", () => el("table", { role: "table", "aria-label": label },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      ...columns.map((c) => el("th", { role: "columnheader", scope: "col", class: c.num ? "num" : null }, c.head)))),
    el("tbody", { role: "rowgroup" })), () => {});
  const body = place.querySelector("tbody");
  keep(body, rows, keyOf,
    () => el("tr", { role: "row" }, ...columns.map((c, i) => el("td", {
      role: "cell", "data-head": c.head, class: [i ? "" : "head", c.num ? "num" : "", c.wide ? "wide" : ""].join(" ").trim() || null,
    }))),
    (tr, row) => columns.forEach((c, i) => cell(tr.children[i], c.cell(row))));
}

function cell(td, v) {
  if (typeof v !== "object" || v === null) v = { text: v ?? "" };
  const shape = `${v.href ? "a" : ""}${v.kind ? "k" + v.kind : ""}${v.small ? "s" : ""}`;
  if (td.dataset.shape !== shape) {
    td.dataset.shape = shape;
    td.replaceChildren();
    if (v.kind) td.append(el("span", { class: "kind" }, sample("edge " + v.kind), el("span", { class: "t" })));
    else if (v.href) td.append(el("a", { class: "t" }));
    else if (v.small || v.class) td.append(el("span", { class: "t" }));
    if (v.small) td.append(el("small", {}));
  }
  const t = td.querySelector(".t");
  if (t) {
    say(t, v.text);
    if (v.href) set(t, { href: v.href });
    t.className = `t ${v.class || ""}`;
  } else say(td, String(v.text));
  if (v.small) say(td.querySelector("small"), v.small);
}

// sample is a short piece of a line, for legends.
function sample(cls) {
  return svg("svg", { "aria-hidden": "true", viewBox: "0 0 40 10", preserveAspectRatio: "none" }, svg("path", { class: cls, d: "M1 5 H39" }));
}

const link = (id) => "#node/" + encodeURIComponent(id);

function who(id, small) {
  const name = nameOf(id);
  return { text: name, href: link(id), small: [name === id ? "" : id, small].filter(Boolean).join(" · ") };
}

function drawTables(s, now) {
  const h = s.relay;
  if (h) {
    table($("relays"), "Other relays", [
      { head: "Relay", cell: (r) => r.id ? who(r.id, r.addr) : { text: r.addr } },
      { head: "Link", cell: (r) => ({ text: r.state, class: r.up ? "tag good" : "tag warn", small: r.up ? "" : r.error }) },
      { head: "Round trip", num: true, cell: (r) => trip(r.rtt_ms) },
      { head: "Nodes there", num: true, cell: (r) => count(r.nodes) },
      { head: "Messages", cell: (r) => r.reachable ? "get through" : { text: "do not get through", class: "bad" } },
    ], list(h.relays), (r) => r.id || r.addr, "No other relay: this one works alone. weft relay --peer makes a backbone.");
    table($("attached"), "Attached nodes", [
      { head: "Node", cell: (a) => who(a.id) },
      { head: "From", cell: (a) => a.addr },
      { head: "Round trip", num: true, cell: (a) => trip(tripTo(a)) },
      { head: "Frames from it", num: true, cell: (a) => count(a.frames_from) },
      { head: "Frames to it", num: true, cell: (a) => count(a.frames_to) },
      { head: "For", num: true, cell: (a) => ago(a.since, now) },
    ], list(h.attached), (a) => a.id, "No node is attached yet. Nodes join with this relay's address and the same secret, or with an invite.");
    const limits = [h.bytes_per_second ? bytes(h.bytes_per_second) : "", h.packets_per_second ? plural(h.packets_per_second, "packet") : ""].filter(Boolean);
    table($("throttled"), "Throttled nodes", [
      { head: "Node", cell: (t) => who(t.id, t.attached ? "" : "has left") },
      { head: "Frames dropped", num: true, cell: (t) => count(t.frames) },
    ], list(h.throttled_nodes), (t) => t.id,
    limits.length ? `None has sent more than ${limits.join(" or ")} in a second.` : "No limit is set for a node, so none is throttled.");
  } else {
    table($("relays"), "Relays", [
      { head: "Relay", cell: (r) => r.id ? who(r.id, r.name ? r.addr : "") : { text: r.addr } },
      { head: "Use", cell: (r) => ({ text: r.home ? "home" : r.up ? "spare" : "not in use", class: r.up ? "tag good" : "tag" }) },
      { head: "State", cell: (r) => ({ text: r.going_away ? r.state + ", going away" : r.state, small: r.error }) },
      { head: "For", num: true, cell: (r) => ago(r.since, now) },
      { head: "Round trip", num: true, cell: (r) => trip(r.rtt_ms) },
      { head: "Throttled", num: true, cell: (r) => r.dropped ? plural(r.dropped, "frame") + " dropped" : "" },
    ], list(s.relays), (r) => r.addr, "No relay: only nodes on the LAN can be reached. Set WEFT_RELAYS or say --relay HOST:PORT.");
  }
  const peers = list(s.peers);
  table($("peers"), "Sessions", [
    { head: "Node", cell: (p) => who(p.id, list(p.roles).join(", ")) },
    { head: "Path", wide: true, cell: (p) => ({ kind: p.kind || "down", text: p.path, small: p.not_direct && !nodes.get(p.id).relay ? "not direct: " + p.not_direct : "" }) },
    { head: "Round trip", num: true, cell: (p) => trip(p.rtt_ms) },
    { head: "Conns", num: true, cell: (p) => count(p.conns) },
    { head: "Sent", num: true, cell: (p) => bytes(p.bytes_sent) },
    { head: "Received", num: true, cell: (p) => bytes(p.bytes_received) },
    { head: "Lost", num: true, cell: (p) => share(p.packets_lost, p.packets_sent) },
  ], peers, (p) => p.id, "No session yet: nobody was dialled, and nobody has dialled this node. Try weft ping NAME.");
  drawDials($("dials"), list(s.dials), "No dial yet.", now);
  table($("drops"), "Refused and dropped", [
    { head: "What", cell: (d) => d.what }, { head: "How many", num: true, cell: (d) => count(d.n) },
  ], list(s.drops), (d) => d.what, "Nothing was refused or dropped.");
}

function drawDials(place, dials, none, now) {
  table(place, "Recent dials", [
    { head: "Dialled", cell: (d) => d.peer ? { text: d.addr, href: link(d.peer), small: nameOf(d.peer) === d.peer ? d.peer : "" } : { text: d.addr } },
    { head: "Result", cell: (d) => d.ok ? { text: "✓ reached", class: "tag good" } : { text: "✗ failed", class: "tag bad" } },
    { head: "Took", num: true, cell: (d) => time(d.duration_ms) },
    { head: "Ago", num: true, cell: (d) => ago(d.time, now) },
    { head: "How", wide: true, cell: (d) => ({ text: d.ok ? d.path : "", small: list(d.steps).map((x) => (x.path ? `by ${x.path}: ` : "") + x.error).join("; then ") }) },
  ], dials, (d) => `${d.time} ${d.addr}`, none);
}

function drawFacts(place, facts) {
  keep(place, facts.filter((f) => f[1] !== "" && f[1] !== undefined), (f) => f[0],
    (f) => el("div", { class: f[2] || null }, el("dt", {}, f[0]), el("dd", {})), (e, f) => say(e.lastChild, String(f[1])));
}

function drawHead(s) {
  say($("title"), s.name || s.node);
  say($("subtitle"), [s.relay ? "relay" : "node", s.name ? s.node : "", `network ${s.network}`].filter(Boolean).join(" · "));
  const title = `${s.name || s.node} – weft`;
  if (document.title !== title) document.title = title;
  const home = list(s.relays).find((r) => r.home);
  const direct = list(s.peers).filter((p) => p.kind && p.kind !== "relay" && !nodes.get(p.id).relay).length;
  const h = s.relay;
  drawFacts($("facts"), h ? [
    ["Attached nodes", count(h.nodes)], ["Other relays", list(h.relays).length ? `${list(h.relays).filter((r) => r.up).length} of ${list(h.relays).length} up` : "none"],
    ["Frames forwarded", count(h.frames)], ["Bytes forwarded", bytes(s.traffic.forwarded)], ["Frames throttled", count(h.throttled)],
    ["Other networks", list(h.networks).join(", ")],
  ] : [
    ["Home relay", home ? home.name || home.addr : list(s.relays).length ? "none is up" : "none"],
    ["Sessions", count(s.sessions)], ["Direct", `${direct} of ${list(s.peers).filter((p) => !nodes.get(p.id).relay).length}`],
    ["Sent", bytes(s.traffic.sent)], ["Received", bytes(s.traffic.received)], ["Streams by", s.layer],
    ["NAT", s.udp.addr ? `mapping ${s.udp.nat_mapping || "unknown"}, filtering ${s.udp.nat_filtering || "unknown"}` : "no UDP socket: everything goes over relays and links", "wide"],
    ["Listens on", list(s.ports).length ? "port " + s.ports.join(", ") : "", "wide"],
  ]);
}

// ---- the graph ----

// graphOf returns what the graph shows: nodes { key, id, label, sub, cls, arc } and edges { a, b, kind, rtt }.
function graphOf(s, size) {
  const g = { nodes: [{ key: s.node, id: s.node, label: s.name || s.node, cls: "self", what: "this node" }], edges: [], more: 0 };
  const add = (n) => (g.nodes.length <= drawn[size] ? g.nodes.push(n) : g.more++);
  const has = (key) => g.nodes.some((n) => n.key === key);
  const byAddr = new Map();
  const relays = s.relay ? list(s.relay.relays) : list(s.relays);
  for (const r of relays) {
    const key = r.id || r.addr;
    if (byAddr.set(r.addr, key) && has(key)) continue;
    const kind = r.up ? (s.relay ? "link" : "relay") : "down";
    add({ key, id: r.id, label: r.name || r.addr, cls: r.up ? "relay" : "relay off", up: true, what: r.home ? "home relay" : "relay", kind, rtt: r.up ? r.rtt_ms : 0 });
    g.edges.push({ a: s.node, b: key, kind, rtt: r.up ? r.rtt_ms : 0 });
  }
  for (const a of list(s.relay?.attached)) {
    if (has(a.id)) continue;
    add({ key: a.id, id: a.id, label: nameOf(a.id), cls: "", what: "attached node", kind: "link", rtt: tripTo(a) });
    g.edges.push({ a: s.node, b: a.id, kind: "link", rtt: tripTo(a) });
  }
  for (const p of list(s.peers)) {
    if (has(p.id)) continue;
    const active = list(p.paths).find((x) => x.active);
    const kind = p.kind || "down";
    const via = kind === "relay" && active ? byAddr.get(active.via) : undefined;
    add({ key: p.id, id: p.id, label: nameOf(p.id), cls: "", what: "node", kind, rtt: p.rtt_ms });
    g.edges.push({ a: via || s.node, b: p.id, kind, rtt: p.rtt_ms });
  }
  g.more += s.relay ? s.relay.nodes - list(s.relay.attached).length : s.sessions - list(s.peers).length;
  const shown = new Set(g.nodes.map((n) => n.key));
  g.edges = g.edges.filter((e) => shown.has(e.a) && shown.has(e.b));
  return g;
}

// settle gives each node of an arc its angle: those that are there keep theirs, a new one
// takes the middle of the widest gap.
function settle(arc, keys, from, to, closed) {
  const key = (k) => `${arc} ${k}`;
  for (const k of [...places.keys()]) {
    if (k.startsWith(arc + " ") && !keys.includes(k.slice(arc.length + 1))) places.delete(k);
  }
  const fresh = keys.filter((k) => !places.has(key(k)));
  if (fresh.length === keys.length) {
    keys.forEach((k, i) => places.set(key(k), from + (to - from) * (closed ? i / keys.length : (i + 0.5) / keys.length)));
    return;
  }
  for (const k of fresh) {
    const taken = keys.filter((x) => places.has(key(x))).map((x) => places.get(key(x))).sort((a, b) => a - b);
    const ends = closed ? [...taken, taken[0] + to - from] : [2 * from - taken[0], ...taken, 2 * to - taken[taken.length - 1]];
    let best = 0;
    for (let i = 1; i + 1 < ends.length; i++) if (ends[i + 1] - ends[i] > ends[best + 1] - ends[best] + 1e-9) best = i;
    places.set(key(k), (ends[best] + ends[best + 1]) / 2);
  }
}

function placeAll(g, w, h) {
  const ups = g.nodes.filter((n) => n.up);
  const rest = g.nodes.filter((n) => n.cls !== "self" && !n.up);
  const small = w < 500;
  settle("up", ups.map((n) => n.key), 205, 335, false);
  settle(ups.length ? "low" : "all", rest.map((n) => n.key), ups.length ? -8 : -90, ups.length ? 188 : 270, !ups.length);
  const cx = w / 2, cy = ups.length ? h * 0.47 : h / 2;
  const rx = Math.min(w / 2 - (small ? 42 : 110), 430);
  const deep = rest.length > (small ? 8 : 20);
  g.nodes.forEach((n) => { n.x = cx; n.y = cy; n.r = 17; });
  ups.forEach((n) => {
    const a = places.get("up " + n.key) * Math.PI / 180;
    Object.assign(n, { x: cx + Math.cos(a) * rx * 0.85, y: cy + Math.sin(a) * (cy - 38), r: 13 });
  });
  const order = [...rest].sort((a, b) => angle(a) - angle(b));
  function angle(n) { return places.get((ups.length ? "low " : "all ") + n.key); }
  order.forEach((n) => {
    const a = angle(n) * Math.PI / 180;
    // Of many, every other one is nearer: which is decided by its ID, so that it stays.
    const near = deep && n.key.charCodeAt(n.key.length - 1) % 2 ? 0.66 : 1;
    const ry = ups.length ? h - cy - 44 : h / 2 - 44;
    Object.assign(n, { x: cx + Math.cos(a) * rx * near, y: cy + Math.sin(a) * ry * near, r: deep ? 8 : 11 });
  });
}

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

// label puts names and round trips where they hide nothing, and tucks away those for which
// there is no room: they are seen when their node has the focus, and in the tables.
function label(g, w, size) {
  const taken = g.nodes.map((n) => ({ x: n.x - n.r, y: n.y - n.r, w: 2 * n.r, h: 2 * n.r }));
  const max = w < 500 ? 13 : 24;
  for (const n of g.nodes) {
    n.text = short(n.label, max);
    const width = [...n.text].length * 7.2 + 6;
    const x = Math.max(0, Math.min(n.x - width / 2, w - width));
    const below = { x, y: n.y + n.r + 5, w: width, h: 16 }, above = { x, y: n.y - n.r - 21, w: width, h: 16 };
    const box = (n.up ? [above, below] : [below, above]).find((b) => b.y > 0 && !taken.some((t) => overlap(t, b)));
    n.tucked = !box;
    n.box = box || below;
    if (box) taken.push(box);
  }
  const at = new Map(g.nodes.map((n) => [n.key, n]));
  const room = g.nodes.length <= tripsFor[size];
  for (const e of g.edges) {
    const a = at.get(e.a), b = at.get(e.b), text = room || b.up ? trip(e.rtt) : "", width = text.length * 6.8 + 4;
    e.d = `M${a.x.toFixed(1)} ${a.y.toFixed(1)} L${b.x.toFixed(1)} ${b.y.toFixed(1)}`;
    e.text = "";
    for (const t of !text ? [] : a.cls === "self" ? [0.55, 0.68, 0.42, 0.78] : [0.72, 0.6, 0.8, 0.48]) {
      const box = { x: a.x + (b.x - a.x) * t - width / 2, y: a.y + (b.y - a.y) * t - 8, w: width, h: 16 };
      if (taken.some((o) => overlap(o, box))) continue;
      taken.push(box);
      Object.assign(e, { text, w: width, x: box.x + width / 2, y: box.y + 12 });
      break;
    }
  }
}

function drawGraph(s) {
  const box = $("graph"), size = document.documentElement.clientWidth < 500 ? "narrow" : "wide", g = graphOf(s, size);
  const alone = g.nodes.length === 1;
  $("graph-none").hidden = !alone;
  box.toggleAttribute("hidden", alone);
  $("legend").hidden = alone;
  say($("graph-none"), s.relay ? "No nodes and no other relays yet: this relay is alone." : "No peers and no relays yet: this node is alone.");
  $("graph-more").hidden = g.more <= 0;
  say($("graph-more"), `and ${plural(g.more, "more node", "more nodes")}, of which the tables below have ${s.relay ? "those with the most traffic" : "the busiest"}`);
  keep($("legend"), Object.entries(kinds).filter((k) => g.edges.some((e) => e.kind === k[0])), (k) => k[0],
    (k) => el("li", {}, sample("edge " + k[0]), k[1]), () => {});
  const w = box.clientWidth, h = box.clientHeight;
  if (alone || !w || !h) return;
  set(box, { viewBox: `0 0 ${w} ${h}` });
  placeAll(g, w, h);
  label(g, w, size);
  if (!box.firstElementChild) box.append(svg("g", { "aria-hidden": "true" }), svg("g", {}), svg("g", { "aria-hidden": "true" }));
  const [lines, dots, trips] = box.children;
  keep(lines, g.edges, (e) => `${e.a} ${e.b}`, () => svg("path", {}), (p, e) => set(p, { class: `edge ${e.kind}`, d: e.d }));
  keep(trips, g.edges.filter((e) => e.text), (e) => `${e.a} ${e.b}`, () => svg("g", {}, svg("rect", { class: "under", height: 14, rx: 3 }), svg("text", { class: "rtt", "text-anchor": "middle" })),
    ({ children: [under, t] }, e) => {
      set(under, { x: (e.x - e.w / 2 - 3).toFixed(1), y: (e.y - 11).toFixed(1), width: (e.w + 6).toFixed(1) });
      set(t, { x: e.x.toFixed(1), y: e.y.toFixed(1) });
      say(t, e.text);
    });
  keep(dots, g.nodes, (n) => n.key, makeDot, drawDot);
}

function makeDot() {
  return svg("a", {}, svg("title", {}), svg("circle", { class: "halo" }), svg("circle", { class: "dot" }), svg("text", { class: "name", "text-anchor": "middle" }));
}

function drawDot(a, n) {
  const [title, halo, dot, text] = a.children;
  const words = [n.label, n.what, n.kind ? kinds[n.kind] : "", trip(n.rtt)].filter(Boolean).join(", ");
  set(a, { class: n.cls || "plain", href: n.id ? link(n.id) : null, tabindex: n.id ? null : "0", role: n.id ? "link" : "img", "aria-label": words });
  say(title, words);
  set(halo, { cx: n.x.toFixed(1), cy: n.y.toFixed(1), r: n.r + 5 });
  set(dot, { cx: n.x.toFixed(1), cy: n.y.toFixed(1), r: n.r });
  set(text, { class: n.tucked ? "name tucked" : "name", x: (n.box.x + n.box.w / 2).toFixed(1), y: (n.box.y + 12).toFixed(1) });
  say(text, n.text);
}

// ---- traffic ----

// drawChart draws curves { name, cls, of(sample) } of bytes a second over ten minutes.
function drawChart(place, all, curves) {
  const w = Math.max(place.clientWidth, 200), h = 160, left = 70, low = h - 20;
  if (!place.firstElementChild) place.append(svg("svg", { role: "img" }), el("div", { class: "keys" }));
  const [chart, keys] = place.children;
  let top = 1000;
  for (const x of all) for (const c of curves) top = Math.max(top, c.of(x));
  const step = 10 ** Math.floor(Math.log10(top));
  top = Math.ceil(top / step) * step;
  const now = all.length ? all[all.length - 1].t : Date.now();
  const span = [60, 120, 300, kept].find((s) => !all.length || now - all[0].t <= s * 1000) || kept; // in seconds
  const px = (t) => left + (w - left - 4) * (1 - (now - t) / (span * 1000)), py = (v) => low - (low - 8) * v / top;
  set(chart, { viewBox: `0 0 ${w} ${h}` });
  const grid = [0, top / 2, top];
  const ticks = w < 500 ? [1, 0.5, 0] : [1, 0.75, 0.5, 0.25, 0];
  keep(chart, [
    ...grid.map((v) => ["g" + v / top, "path", { class: "grid", d: `M${left} ${py(v)} H${w - 4}` }, ""]),
    ...grid.map((v) => ["t" + v / top, "text", { x: left - 6, y: py(v) + 4, "text-anchor": "end" }, `${bytes(v)}/s`]),
    ...ticks.map((m) => ["m" + m, "text", { x: px(now - m * span * 1000), y: h - 4, "text-anchor": m === 0 ? "end" : m === 1 ? "start" : "middle" }, m ? `−${clock(m * span)}` : "now"]),
    ...curves.map((c) => ["c" + c.cls, "path", { class: `curve ${c.cls}`, d: curve(all, c, px, py) }, ""]),
  ], (x) => x[0], (x) => svg(x[1], {}), (e, x) => { set(e, x[2]); if (x[3]) say(e, x[3]); });
  const last = all[all.length - 1];
  const words = curves.map((c) => `${c.name} ${bytes(last ? c.of(last) : 0)}/s`);
  set(chart, { "aria-label": `Traffic of the last ${clock(span)}; now ${words.join(", ")}` });
  keep(keys, curves, (c) => c.cls, (c) => el("span", {}, sample("curve " + c.cls), el("span", {})), (e, c) => say(e.lastChild, words[curves.indexOf(c)]));
}

function clock(s) {
  return s % 60 ? `${Math.floor(s / 60)}:${String(Math.round(s % 60)).padStart(2, "0")}`.replace(/^0:/, "") + (s < 60 ? " s" : " min") : `${s / 60} min`;
}

function curve(all, c, px, py) {
  let d = "", last = 0;
  for (const x of all) {
    d += `${last && x.t - last < 5000 ? "L" : "M"}${px(x.t).toFixed(1)} ${py(c.of(x)).toFixed(1)}`;
    last = x.t;
  }
  return d;
}

const curves = {
  sent: { name: "sent", cls: "sent", of: (x) => x.sent },
  received: { name: "received", cls: "received", of: (x) => x.received },
  forwarded: { name: "forwarded", cls: "forwarded", of: (x) => x.forwarded },
};

// rate is how much more of a counter there is each second.
const rate = (from, to, ms) => Math.max(0, to - from) * 1000 / Math.max(ms, 1);

// record adds what has passed since the snapshot before.
function record(before, s) {
  const t = Date.parse(s.time), ms = before ? t - Date.parse(before.time) : 0;
  const add = (all, x) => { all.push(x); while (all.length > kept || all.length && all[0].t < t - kept * 1000) all.shift(); };
  if (before && ms > 0 && before.node === s.node) {
    const a = before.traffic, b = s.traffic;
    add(samples, { t, sent: rate(a.sent, b.sent, ms), received: rate(a.received, b.received, ms), forwarded: rate(a.forwarded, b.forwarded, ms) });
  }
  const there = new Set();
  for (const p of list(s.peers)) {
    there.add(p.id);
    const r = perPeer.get(p.id);
    if (r && t > r.t) add(r.samples, { t, sent: rate(r.sent, p.bytes_sent, t - r.t), received: rate(r.received, p.bytes_received, t - r.t) });
    perPeer.set(p.id, { t, sent: p.bytes_sent, received: p.bytes_received, samples: r ? r.samples : [] });
  }
  for (const id of perPeer.keys()) if (!there.has(id)) perPeer.delete(id);
}

// ---- the page of one node ----

function shown() {
  const m = /^#node\/(.+)$/.exec(location.hash);
  try {
    return m ? decodeURIComponent(m[1]) : "";
  } catch {
    return "";
  }
}

function drawNode(s, id, now) {
  const n = nodes.get(id);
  say($("n-title"), n ? nameOf(id) : id);
  const p = n?.peer, a = n?.attached, r = n?.relay || n?.trunk;
  say($("n-state"), !n ? "This node is not known any more: it has left, or it was never here."
    : n.self ? "This is the node that serves this page."
    : p ? (p.kind && p.kind !== "relay" ? `Packets go by ${p.path}.` : `Packets go by ${p.path}${p.not_direct && !n.relay ? ", not directly: " + p.not_direct : ""}.`)
    : a ? "It is attached to this relay."
    : r ? `A relay: ${r.state}.`
    : n.lan ? "It announces itself on the LAN. There is no session with it." : n.throttled ? "It has sent more than this relay allows, and has left." : "");
  drawFacts($("n-facts"), !n ? [] : [
    ["Round trip", trip(p?.rtt_ms || r?.rtt_ms || a?.rtt_ms)], ["Least round trip", trip(p?.min_rtt_ms)], ["Conns", p ? count(p.conns) : ""],
    ["Sent", p ? bytes(p.bytes_sent) : n.self ? bytes(s.traffic.sent) : ""], ["Received", p ? bytes(p.bytes_received) : n.self ? bytes(s.traffic.received) : ""],
    ["Packets lost", p ? share(p.packets_lost, p.packets_sent) : ""],
    ["Attached for", a ? ago(a.since, now) : ""], ["Frames from it", a ? count(a.frames_from) : ""], ["Frames to it", a ? count(a.frames_to) : ""],
    ["Frames throttled", n.throttled ? count(n.throttled.frames) : ""], ["Nodes there", n.trunk ? count(n.trunk.nodes) : ""],
    ["Node ID", id, "wide"], ["Key", p?.key || (n.self ? s.key : ""), "wide"], ["Names", n.names.filter((x) => x !== id).join(", "), "wide"],
    ["Roles", list(p?.roles).join(", "), "wide"], ["Link from", a?.addr || "", "wide"], ["Address of the relay", r?.addr || "", "wide"],
    ["This node's address as the relay sees it", n.relay?.observed_addr || "", "wide"], ["On the LAN at", list(n.lan?.addrs).join(", "), "wide"],
    ["UDP socket", n.self ? s.udp.addr || "none" : "", "wide"], ["Peers are told of", n.self ? list(s.udp.candidates).join(", ") : "", "wide"],
    ["Error", r?.error || "", "wide"],
  ]);
  const seen = n?.self ? samples : perPeer.get(id)?.samples;
  $("n-traffic").parentElement.hidden = !seen;
  if (seen) drawChart($("n-traffic"), seen, [curves.sent, curves.received]);
  $("n-paths").parentElement.hidden = !p;
  if (p) drawPaths(p, now);
  $("n-dials").parentElement.hidden = !n || Boolean(n.self);
  const names = n?.names || [];
  drawDials($("n-dials"), list(s.dials).filter((d) => d.peer === id || !d.peer && [id, p?.key, ...names].some((x) => x && hostOf(d.addr) === x)), "None of the last dials was to this node.", now);
}

// hostOf is the host of "host:port", without the suffix that all may have.
function hostOf(addr) {
  return addr.replace(/:[^:]*$/, "").replace(/\.weft$/, "");
}

function drawPaths(p, now) {
  table($("n-paths"), "Paths", [
    { head: "Path", cell: (x) => ({ kind: x.kind, text: x.path, small: kinds[x.kind] || x.kind }) },
    { head: "State", cell: (x) => ({ text: x.active ? "in use" : x.state, class: x.active ? "tag good" : "tag", small: x.active ? x.state : x.reason }) },
    { head: "For", num: true, cell: (x) => ago(x.since, now) },
    { head: "Round trip", num: true, cell: (x) => trip(x.rtt_ms) },
    { head: "Sent", num: true, cell: (x) => bytes(x.bytes_sent) },
    { head: "Received", num: true, cell: (x) => x.kind === "relay" ? "" : bytes(x.bytes_received) },
    { head: "Lost", num: true, cell: (x) => share(x.packets_lost, x.packets_sent) },
  ], list(p.paths), (x) => x.path, "No path now.");
}

// ---- the whole ----

function draw() {
  if (!state) return;
  const now = Date.parse(state.time), id = shown();
  $("overview").hidden = Boolean(id);
  $("nodepage").hidden = !id;
  drawHead(state);
  if (id) {
    drawNode(state, id, now);
    return;
  }
  $("s-attached").hidden = $("s-throttled").hidden = !state.relay;
  drawGraph(state);
  drawChart($("traffic"), samples, state.relay ? [curves.forwarded, curves.sent, curves.received] : [curves.sent, curves.received]);
  drawTables(state, now);
}

let opened = null; // key of the element from which a node's page was opened

function turnTo() {
  const id = shown();
  draw();
  if (id) {
    window.scrollTo(0, 0);
    $("n-title").focus();
    return;
  }
  const again = [...document.querySelectorAll("#overview a")].find((a) => opened && a.getAttribute("href") === opened);
  opened = null;
  if (again) again.focus();
}

document.addEventListener("click", (e) => {
  const a = e.target instanceof Element ? e.target.closest('a[href^="#node/"]') : null;
  if (a && !shown()) opened = a.getAttribute("href");
});
document.addEventListener("keydown", (e) => {
  if (e.key === "Escape" && shown() && !e.defaultPrevented) location.hash = "";
});
window.addEventListener("hashchange", turnTo);
window.addEventListener("resize", draw);

// ---- questions ----

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(patience), cache: "no-store", redirect: "error" });
  if (answer.status === 401 || answer.status === 429) throw new Error("the token is not valid any more: the node has restarted. Open the address that weft status shows.");
  if (!answer.ok) throw new Error(`the node answers ${answer.status}: ${short((await answer.text()).trim(), 200)}`);
  return answer.json();
}

function news(before, s) {
  if (!before) return;
  const had = new Set(list(before.peers).map((p) => p.id)), has = new Set(list(s.peers).map((p) => p.id));
  const told = [...[...has].filter((id) => !had.has(id)).map((id) => `${nameOf(id)} is here`), ...[...had].filter((id) => !has.has(id)).map((id) => `${id} has left`)];
  if (told.length && told.length < 4) say($("news"), told.join(", "));
}

let failing = 0; // questions in a row
let answered = 0; // when the last one was answered, by this machine's clock alone

async function refresh() {
  try {
    if (!state || failing || performance.now() - answered > 5 * period) await recall();
    const s = await ask("api/status");
    record(state, s);
    know(s);
    news(state, s);
    state = s;
    failing = 0;
    answered = performance.now();
  } catch (err) {
    failing++;
    if (failing > 1 || !state) {
      say($("banner"), err.name === "TimeoutError" || err instanceof TypeError ? "The node does not answer; trying again. What is below is what it said last." : `No news: ${err.message}`);
    }
  }
  const lost = failing > 1 || failing && !state;
  $("banner").hidden = !lost;
  $("live").className = `live ${lost ? "off" : state ? "on" : ""}`;
  say($("live"), lost ? "not live" : state ? "live" : "connecting …");
  document.documentElement.classList.toggle("stale", Boolean(lost));
  draw();
}

// recall asks for the traffic that the server has recorded.
async function recall() {
  const h = await ask("api/history");
  const second = h.interval_ms / 1000;
  samples = list(h.samples).map((x) => ({ t: x.t, sent: x.sent / second, received: x.received / second, forwarded: x.forwarded / second }));
  if (state) state = { ...state, time: new Date(0).toISOString(), node: "" }; // what passed meanwhile is in there
}

async function run() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((wake) => {
      const t = setTimeout(wake, failing ? Math.min(period * 2 ** failing, 10 * period) : period);
      if (document.hidden) document.addEventListener("visibilitychange", () => { clearTimeout(t); wake(); }, { once: true });
    });
  }
}

// ---- colours ----

const themes = ["system", "light", "dark"];

function theme(change) {
  let now = "system";
  try {
    now = localStorage.getItem("weft-theme") || now;
  } catch { /* no storage: the system's colours */ }
  if (change) now = themes[(themes.indexOf(document.documentElement.dataset.theme || "system") + 1) % themes.length];
  if (now === "system" || !themes.includes(now)) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = now;
  say($("theme"), `Theme: ${document.documentElement.dataset.theme || "system"}`);
  try {
    if (change) localStorage.setItem("weft-theme", now);
  } catch { /* then for this page alone */ }
}

$("theme").addEventListener("click", () => theme(true));
theme(false);
run();
