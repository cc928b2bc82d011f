"use strict";
// Two conveniences on a page that is complete without them: a read-out over the curves, a slider over the samples.

function axisInUse() {
  const time = document.getElementById("by-seconds");
  return time && time.checked ? "seconds" : "tokens";
}

function unitOfAxis() {
  const label = document.querySelector("label[for=by-tokens]");
  return " " + (label ? label.dataset.unit : "tokens");
}

function shortCount(value) {
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return (value / size).toPrecision(3) + unit;
  }
  return String(Math.round(value));
}

function shortTime(seconds) {
  if (seconds < 60) return seconds.toFixed(1) + " s";
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60);
  if (minutes < 60) return minutes + " min " + String(whole % 60).padStart(2, "0") + " s";
  return Math.floor(minutes / 60) + " h " + String(minutes % 60).padStart(2, "0") + " min";
}

function shortValue(value) {
  return Math.abs(value) >= 1000 ? shortCount(value) : String(Number(value.toPrecision(4)));
}

function nearest(places, wanted) {
  let low = 0, high = places.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (places[middle] < wanted) low = middle; else high = middle;
  }
  return wanted - places[low] < places[high] - wanted ? low : high;
}

function add(parent, kind, look) {
  const element = document.createElement(kind);
  element.className = look;
  parent.appendChild(element);
  return element;
}

function readout(plot) {
  const data = JSON.parse(plot.querySelector("script").textContent);
  const cursor = add(plot, "div", "cursor"), box = add(plot, "div", "readout");
  const spots = data.series.map((series) => add(plot, "div", "spot " + series.look));
  const guide = data.series.reduce((a, b) => (b.value.length > a.value.length ? b : a));

  function move(event) {
    const frame = plot.getBoundingClientRect(), axis = axisInUse(), end = data.end[axis];
    const wanted = Math.min(1, Math.max(0, (event.clientX - frame.left) / frame.width)) * end;
    const at = guide[axis][nearest(guide[axis], wanted)], left = at / end * 100;
    plot.classList.add("on");
    cursor.style.left = left + "%";
    box.replaceChildren(document.createTextNode(axis === "tokens" ? shortCount(at) + unitOfAxis() : shortTime(at)));
    data.series.forEach((series, index) => {
      const number = nearest(series[axis], at), value = series.value[number];
      const top = (data.high - value) / (data.high - data.low) * 100;
      spots[index].classList.toggle("here", top >= 0 && top <= 100);
      spots[index].style.left = series[axis][number] / end * 100 + "%";
      spots[index].style.top = top + "%";
      const row = add(box, "div", "");
      row.append(series.name ? series.name + " " : "");
      add(row, "b", "").textContent = shortValue(value);
    });
    box.style.left = left > 55 ? "auto" : "calc(" + left + "% + 12px)";
    box.style.right = left > 55 ? "calc(" + (100 - left) + "% + 12px)" : "auto";
  }

  plot.addEventListener("pointermove", move);
  plot.addEventListener("pointerdown", move);
  plot.addEventListener("pointerleave", () => plot.classList.remove("on"));
}

function steer(samples) {
  const moments = [...samples.querySelectorAll(".moment")];
  const slider = samples.querySelector("input"), shown = samples.querySelector("output");
  function show() {
    moments.forEach((moment, index) => moment.classList.toggle("shown", index === Number(slider.value)));
    shown.textContent = moments[Number(slider.value)].dataset.when;
  }
  samples.classList.add("steered");
  samples.querySelector(".steer").hidden = false;
  slider.addEventListener("input", show);
  show();
}

document.querySelectorAll(".plot").forEach(readout);
document.querySelectorAll(".samples").forEach(steer);
