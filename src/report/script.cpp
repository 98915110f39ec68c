// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "report/assets.h"

namespace megafold {

const char kReportScript[] = R"js(
"use strict";
// The theme: the system's, until the button is pressed.
{
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
    document.dispatchEvent(new Event("themechange"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    name();
    document.dispatchEvent(new Event("themechange"));
  });
  name();
}
// What the pointer is over, in each chart.
for (const figure of document.querySelectorAll("figure.chart")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const plot = figure.querySelector(".plot");
  const cursor = plot.appendChild(document.createElement("div"));
  const tip = plot.appendChild(document.createElement("div"));
  cursor.className = "cursor";
  tip.className = "tip";
  const show = (visible) => { cursor.hidden = tip.hidden = !visible; };
  show(false);
  const shown = (v) => v === null ? "\u2013"
    : (Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en").replaceAll(",", "\u202f") : String(+v.toPrecision(3)))
      + (data.unit ? " " + data.unit : "");
  const line = (color, text) => {
    const row = document.createElement("div");
    if (color) {
      const mark = row.appendChild(document.createElement("i"));
      mark.style.setProperty("--c", `var(${color})`);
    }
    row.append(text);
    return row;
  };
  const nearest = (xs, share, at) => {
    let best = 0;
    for (let i = 1; i < xs.length; i++) if (Math.abs(at(xs[i]) - share) < Math.abs(at(xs[best]) - share)) best = i;
    return best;
  };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    if (share < -0.02 || share > 1.02) return show(false);
    let place;
    if (data.bars) {
      if (!data.bars.length) return;
      const i = nearest(data.bars.map((b) => b.x), share, (x) => x), bar = data.bars[i];
      place = bar.x;
      tip.replaceChildren(line(null, bar.label), line(null, "lDDT " + shown(bar.y)));
      document.dispatchEvent(new CustomEvent("pickresidue", { detail: i }));
    } else {
      const first = data.x[0], last = data.x[data.x.length - 1];
      // Bins are named by their last step; the axis begins at step 1.
      const low = data.first === undefined ? first : data.first, span = last > low ? last - low : 1;
      const i = nearest(data.x, share, (x) => (x - low) / span);
      place = (data.x[i] - low) / span;
      const rows = data.series.map((s) => line(s.color, s.name + "  " + shown(s.y[i])));
      if (data.stacked) rows.reverse();
      tip.replaceChildren(line(null, "step " + data.x[i].toLocaleString("en").replaceAll(",", "\u202f")), ...rows);
    }
    show(true);
    cursor.style.left = 100 * place + "%";
    const right = place > 0.55;
    tip.style.left = right ? "" : `calc(${100 * place}% + 10px)`;
    tip.style.right = right ? `calc(${100 - 100 * place}% + 10px)` : "";
  });
  plot.addEventListener("pointerleave", () => {
    show(false);
    if (data.bars) document.dispatchEvent(new CustomEvent("pickresidue", { detail: -1 }));
  });
}
)js";

}  // namespace megafold
