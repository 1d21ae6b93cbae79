"use strict";
const DARK = JSON.parse(document.getElementById("dark-colours").textContent);
const scheme = matchMedia("(prefers-color-scheme: dark)");
const charts = [...document.querySelectorAll(".chart")].map(box => ({box, text: box.firstChild.textContent}));
const coarse = matchMedia("(pointer: coarse)").matches;

// Text, lines and ground of a chart are the page's own; its colours have dark counterparts.
function styled(text) {
  if (scheme.matches) for (const [light, dark] of Object.entries(DARK)) text = text.replaceAll(light, dark);
  const css = getComputedStyle(document.documentElement), of = name => css.getPropertyValue(name).trim();
  const figure = JSON.parse(text), layout = figure.layout;
  layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
  layout.font = {color: of("--ink"), family: "system-ui, sans-serif", size: 12};
  layout.hoverlabel = {bgcolor: of("--card"), bordercolor: of("--line"), font: {color: of("--ink")}};
  for (const name of layout.annotations ?? []) name.bgcolor = of("--paper");
  if (coarse) layout.dragmode = false;  // a finger scrolls the page
  for (const name of Object.keys(layout)) if (/^[xy]axis/.test(name))
    Object.assign(layout[name], {gridcolor: of("--line"), linecolor: of("--line"), zerolinecolor: of("--line")});
  return figure;
}

async function draw() {
  for (const {box, text} of charts) {
    const {data, layout} = styled(text);
    if (box.id === "course" && player) player.place(layout);
    await Plotly.react(box, data, layout, {responsive: true, displayModeBar: false});
    await new Promise(done => setTimeout(done));  // what is above can be read meanwhile
  }
  performance.mark("charts drawn");
  document.documentElement.dataset.ready = "yes";
}

function makePlayer() {
  const holder = document.getElementById("player-data");
  if (!holder) return null;
  const data = JSON.parse(holder.textContent), at = id => document.getElementById(id);
  const course = at("course"), slider = at("slider"), frame = at("frame"), last = data.steps - 1;
  const before = (pairs, t) => pairs.findLast(([from]) => from <= t)?.[1];
  const memory = JSON.parse(charts.find(c => c.box === course).text).data.filter(trace => trace.meta === "memory")
    .map(trace => {
      const bytes = Uint8Array.from(atob(trace.z.bdata), c => c.charCodeAt(0));
      const canvas = document.createElement("canvas"), label = document.createElement("div");
      canvas.width = Number(trace.z.shape.split(",")[0]);
      canvas.height = 1;
      label.textContent = trace.name + " now, by slot";
      at("memory").append(label, canvas);
      return {values: new Float32Array(bytes.buffer), canvas};
    });
  for (const [kind, sign, steps] of [["change", "▼", data.changes], ["noticed", "◆", data.noticed]])
    for (const t of steps) {
      const mark = document.createElement("span");
      mark.className = kind;
      mark.textContent = sign;
      mark.title = kind + " at step " + t;
      mark.style.left = 100 * t / last + "%";
      at("marks").append(mark);
    }
  at("to-change").hidden = !data.changes.length;

  const brief = value => String(Number(value.toPrecision(4)));

  let now = 0, timer = null, waiting = false;
  function moveCursor() {
    if (waiting || !course.layout) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const k = course.layout.shapes.findIndex(shape => shape.name === "cursor");
      Plotly.relayout(course, {[`shapes[${k}].x0`]: now, [`shapes[${k}].x1`]: now});
    });
  }
  function drawMemory() {
    for (const {values, canvas} of memory) {
      const pen = canvas.getContext("2d"), picture = pen.createImageData(canvas.width, 1);
      for (let n = 0; n < canvas.width; n++) {
        const value = Math.min(1, Math.max(0, values[n * data.steps + now]));
        picture.data.set([...data.shades[Math.round(Math.sqrt(value) * (data.shades.length - 1))], 255], 4 * n);
      }
      pen.putImageData(picture, 0, 0);
    }
  }
  const steps = count => count + (count === 1 ? " step" : " steps");
  function said() {
    const change = data.changes.findLast(t => t <= now);
    if (change === undefined)
      return data.changes.length ? `${steps(data.changes[0] - now)} before the change.` : "Nothing changes here.";
    const next = data.changes.find(t => t > change) ?? data.steps;
    const seen = data.noticed.find(t => t >= change && t < next);
    const since = `The condition changed ${steps(now - change)} ago`;
    if (seen !== undefined && seen <= now) return `${since}; the agent noticed after ${steps(seen - change)}.`;
    return data.evidence ? `${since}; the agent has not noticed yet.` : `${since}.`;
  }
  function show(t) {
    now = Math.min(last, Math.max(0, t));
    slider.value = now;
    if (frame) frame.src = before(data.frames, now) ?? data.frames[0][1];
    const number = data.ends.filter(end => end < now).length + 1;
    const entries = [["step", `${now} (episode ${number}, step ${data.times[now]})`], ["action", data.actions[now]],
      ["reward", data.rewards[now]], ["return so far", brief(data.returns[now])]];
    if (data.evidence) entries.push(["evidence", `${Math.round(100 * data.evidence[now])} % of the threshold`]);
    for (const [name, value] of Object.entries(before(data.conditions, now) ?? {}))
      entries.push([name, brief(value)]);
    at("now").replaceChildren(...entries.flatMap(pair => pair.map((text, k) => {
      const element = document.createElement(k ? "dd" : "dt");
      element.textContent = text;
      return element;
    })));
    at("state").textContent = said();
    drawMemory();
    moveCursor();
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    at("play").textContent = "Play";
  }
  function play() {
    if (timer) return stop();
    if (now === last) show(0);
    at("play").textContent = "Pause";
    timer = setInterval(() => now < last ? show(now + 1) : stop(), 80);
  }
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  at("play").addEventListener("click", play);
  at("back").addEventListener("click", () => { stop(); show(now - 1); });
  at("forth").addEventListener("click", () => { stop(); show(now + 1); });
  at("to-change").addEventListener("click", () => { stop(); show(data.changes[0]); });
  document.addEventListener("keydown", event => {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!move || event.target === slider || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target !== document.body && !at("player").contains(event.target)) return;
    event.preventDefault();
    stop();
    show(now + move * (event.shiftKey ? 10 : 1));
  });
  const player = {};
  // In a chart that is about to be drawn, as in one that is: the cursor is the one shape of that name.
  player.place = layout => {
    const cursor = layout.shapes.find(shape => shape.name === "cursor");
    cursor.x0 = cursor.x1 = now;
  };
  // Once the chart is drawn: a click on it goes there.
  player.attach = () => course.on("plotly_click", ({points}) => { stop(); show(points[0].x); });
  show(data.changes.length ? Math.max(0, data.changes[0] - 20) : 0);
  return player;
}

const player = makePlayer();
// Plotly stands behind this script: numbers, frames and the slider are there before the charts.
addEventListener("DOMContentLoaded", async () => {
  await draw();
  player?.attach();
  scheme.addEventListener("change", draw);
});
