// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "report/assets.h"

namespace megafold {

const char kCachePageStyle[] = R"css(
:root { --kept: var(--good); --dropped: #b58900; --failed: var(--bad); }
.verdicts { display: flex; gap: 3px; height: 14px; margin-bottom: 18px; }
.verdicts i { min-width: 8px; border-radius: 4px; }
.verdicts .kept { background: var(--kept); } .verdicts .dropped { background: var(--dropped); }
.verdicts .failed { background: var(--failed); }
.tiles.row { grid-template-columns: repeat(5, minmax(0, 1fr)); }
.tile span .badge { display: inline-block; line-height: 1.3; margin-left: -2px; }
.tiles.row .tile { justify-content: flex-start; }
.badge { font-size: 12px; font-weight: 600; border-radius: 999px; padding: 2px 9px; border: 1px solid currentColor; }
.badge.kept { color: var(--kept); } .badge.dropped { color: var(--dropped); } .badge.failed { color: var(--failed); }
.chart.half { grid-column: span 6; }
.note, .more { color: var(--soft); font-size: 13px; max-width: 80ch; }
.more { margin-top: 10px; }
td.words { text-align: left; white-space: normal; overflow-wrap: anywhere; width: 99%; }
#left-out th, #left-out td:nth-child(2) { text-align: left; }
td.words ul { margin: 0; padding-left: 18px; }
.reasons { margin-bottom: 20px; }
.reasons div { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr) 60px; gap: 14px; align-items: center; padding: 5px 0; font-size: 14px; }
.reasons span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.reasons i { height: 12px; border-radius: 4px; background: var(--dropped); }
.reasons b { font-weight: 500; text-align: right; font-variant-numeric: tabular-nums; }
.columns { display: flex; align-items: flex-end; gap: 4px; height: 190px; margin: 34px 0 24px; border-bottom: 1px solid var(--line); }
.columns div { flex: 1; height: 100%; min-width: 0; position: relative; display: flex; flex-direction: column; justify-content: flex-end; align-items: stretch; }
.columns i { background: var(--c); border-radius: 5px 5px 0 0; min-height: 1px; }
.columns b { font-size: 12px; font-weight: 500; text-align: center; color: var(--soft); line-height: 1.6; }
.columns span { position: absolute; top: calc(100% + 6px); left: 0; font-size: 12px; line-height: 1; color: var(--soft); white-space: nowrap; }
.dots { border-left: 1px solid var(--line); border-bottom: 1px solid var(--line); }
.dots hr { position: absolute; left: 0; right: 0; margin: 0; border: 0; border-top: 1px solid var(--grid); }
.dots i { position: absolute; width: 11px; height: 11px; margin: -5.5px; border-radius: 50%; background: var(--c); opacity: .72; border: 1px solid var(--card); }
.dots i:hover { opacity: 1; outline: 2px solid var(--ink); }
td.bar, th.bar { text-align: left; width: 34%; }
td.bar div { display: flex; gap: 1px; min-width: 140px; }
td.bar i { height: 12px; min-width: 2px; }
td.bar i:first-child { border-radius: 4px 0 0 4px; } td.bar i:last-child { border-radius: 0 4px 4px 0; }
#entries tbody td, #entries tbody th { padding-top: 6px; padding-bottom: 6px; }
#entries th[aria-sort] { color: var(--ink); }
#entries thead th { cursor: pointer; user-select: none; }
input[type="search"] { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 999px; padding: 7px 16px; margin-bottom: 14px; width: min(100%, 320px); }
.list { list-style: none; margin: 0; padding: 10px 20px; font-size: 14px; overflow-wrap: anywhere; }
.list li { padding: 4px 0; }
@media (max-width: 860px) { .tiles.row { grid-template-columns: repeat(2, 1fr); } .chart.half { grid-column: span 12; } }
)css";

const char kCachePageScript[] = R"js(
{
  const table = document.getElementById("entries");
  const search = document.getElementById("search");
  if (table) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const value = (row, i) => {
      const cell = row.cells[i === 1 ? 2 : i];
      return cell.dataset.v === undefined ? cell.textContent : +cell.dataset.v;
    };
    heads.forEach((head, i) => {
      head.tabIndex = 0;
      const sort = () => {
        const down = head.getAttribute("aria-sort") !== (i === 0 ? "ascending" : "descending");
        const falling = i === 0 ? !down : down;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        const rows = [...body.rows].sort((a, b) => {
          const x = value(a, i), y = value(b, i);
          return (x < y ? -1 : x > y ? 1 : 0) * (falling ? -1 : 1);
        });
        body.replaceChildren(...rows);
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
    search.hidden = body.rows.length < 12;
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      for (const row of body.rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    });
  }
}
)js";

}  // namespace megafold
