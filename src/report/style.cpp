// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Colours of lDDT are those of the AlphaFold database, darkened a little on a white page where the
// yellow would vanish. The dark theme follows the system, or the button.
#include "report/assets.h"

namespace megafold {

const char kReportStyle[] = R"css(
:root {
  color-scheme: light;
  --page: #f6f7f9; --card: #ffffff; --ink: #161a22; --soft: #5a6373; --line: #e2e6ed;
  --grid: #e9ecf2; --model: #2456d3; --trivial: #8a93a3; --good: #0b7d55; --bad: #b3480c;
  --c0: #1250d4; --c1: #47b4e6; --c2: #eab800; --c3: #f0702e; --c4: #b4bbc8; --truth: #8c95a5;
  --p0: #d5455f; --p1: #2456d3; --p2: #17a398; --p3: #8a5cf0; --p4: #e3a008; --p5: #7d8798; --p6: #c06bb5;
  --shadow: 0 1px 2px rgb(22 26 34 / 5%), 0 6px 24px rgb(22 26 34 / 5%);
}
:root[data-theme="dark"] {
  color-scheme: dark;
  --page: #0d1015; --card: #151920; --ink: #e9edf4; --soft: #9ba5b7; --line: #272e3a;
  --grid: #222834; --model: #7fa4ff; --trivial: #78829a; --good: #4cc796; --bad: #ff9a5c;
  --c0: #3f7bff; --c1: #6accf5; --c2: #ffdb4d; --c3: #ff8a4c; --c4: #4b5465; --truth: #7c879b;
  --p0: #ff7088; --p1: #7fa4ff; --p2: #3fcabd; --p3: #b08cff; --p4: #f5c04a; --p5: #8d98ab; --p6: #e29ad8;
  --shadow: none;
}
@media (prefers-color-scheme: dark) {
  :root:not([data-theme="light"]) {
    color-scheme: dark;
    --page: #0d1015; --card: #151920; --ink: #e9edf4; --soft: #9ba5b7; --line: #272e3a;
    --grid: #222834; --model: #7fa4ff; --trivial: #78829a; --good: #4cc796; --bad: #ff9a5c;
    --c0: #3f7bff; --c1: #6accf5; --c2: #ffdb4d; --c3: #ff8a4c; --c4: #4b5465; --truth: #7c879b;
    --p0: #ff7088; --p1: #7fa4ff; --p2: #3fcabd; --p3: #b08cff; --p4: #f5c04a; --p5: #8d98ab; --p6: #e29ad8;
    --shadow: none;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { display: flex; align-items: baseline; gap: 16px; padding-top: 36px; padding-bottom: 20px; }
header div { flex: 1; min-width: 0; }
h1 { font-size: clamp(24px, 4vw, 34px); line-height: 1.15; letter-spacing: -.02em; margin: 0 0 6px; font-weight: 680; }
h2 { font-size: 20px; letter-spacing: -.01em; margin: 0 0 4px; font-weight: 650; }
h3 { font-size: 15px; margin: 0; font-weight: 620; }
p { margin: 0; }
header p, .lead, figcaption p { color: var(--soft); }
.warning { color: var(--bad); font-size: 14px; margin-top: 6px; }
.lead { max-width: 70ch; margin-bottom: 18px; }
a { color: var(--model); }
code, pre { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
button {
  font: inherit; font-size: 13px; line-height: 1; color: var(--ink); background: var(--card); cursor: pointer;
  border: 1px solid var(--line); border-radius: 999px; padding: 9px 14px; min-height: 36px;
}
button[aria-pressed="true"] { background: var(--ink); border-color: var(--ink); color: var(--page); }
:focus-visible { outline: 2px solid var(--model); outline-offset: 2px; }
section { margin: 0 0 44px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 16px; box-shadow: var(--shadow); }

.top { display: grid; grid-template-columns: minmax(0, 1.9fr) minmax(260px, 1fr); gap: 20px; align-items: stretch; }
.stage { position: relative; padding: 18px 20px; display: flex; flex-direction: column; }
.view { position: relative; flex: 1; min-height: 400px; margin: 8px 0 12px; }
.view svg, .view canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.view canvas { touch-action: pan-y; cursor: grab; border-radius: 8px; }
.view canvas:active { cursor: grabbing; }
.view.live svg { visibility: hidden; }
.view .empty { position: absolute; inset: 0; display: grid; place-content: center; text-align: center; color: var(--soft); padding: 24px; }
.molecule path { fill: none; stroke-linecap: round; stroke: var(--s); opacity: calc(.55 + .45 * var(--d)); }
.molecule .halo { stroke: var(--card); opacity: 1; }
.molecule .truth { --s: var(--truth); }
.molecule .c0 { --s: var(--c0); } .molecule .c1 { --s: var(--c1); } .molecule .c2 { --s: var(--c2); }
.molecule .c3 { --s: var(--c3); } .molecule .c4 { --s: var(--c4); }
.controls { display: none; gap: 8px; flex-wrap: wrap; margin-bottom: 10px; }
.live ~ .controls { display: flex; }
.controls i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px; background: var(--c); vertical-align: -1px; }
.scale, .legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 6px 0 0; padding: 0; font-size: 13px; color: var(--soft); }
.scale i, .legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; background: var(--c); margin-right: 7px; vertical-align: -1px; }
.legend i.line { height: 0; width: 18px; border-top: 3px solid var(--c); background: none; vertical-align: 4px; border-radius: 0; }
.legend i.dashed { border-top-style: dashed; }
.pick { position: absolute; right: 0; top: 0; font-size: 13px; color: var(--soft); font-variant-numeric: tabular-nums; pointer-events: none; }

.tiles { display: grid; grid-template-columns: 1fr; gap: 14px; }
.tile { padding: 16px 20px; display: flex; flex-direction: column; justify-content: center; }
.tile span { font-size: 13px; color: var(--soft); }
.tile strong { font-size: 38px; line-height: 1.15; letter-spacing: -.03em; font-weight: 680; font-variant-numeric: tabular-nums; }
.tile strong small { font-size: 17px; letter-spacing: 0; font-weight: 500; color: var(--soft); margin-left: 4px; }
.tile em { font-style: normal; font-size: 13px; }
.tile .met { color: var(--good); } .tile .unmet { color: var(--bad); }

.charts { display: grid; grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 20px; }
.chart { margin: 0; padding: 18px 20px 14px; grid-column: span 12; background: var(--card); border: 1px solid var(--line); border-radius: 16px; box-shadow: var(--shadow); }
.chart.small { grid-column: span 4; }
figcaption p { font-size: 13px; max-width: 80ch; }
.plot { position: relative; height: 300px; margin: 16px 0 26px 58px; }
.small .plot { height: 150px; }
.bars .plot { height: 190px; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: hidden; }
.plot .x, .plot .y { position: absolute; font-size: 12px; line-height: 1; color: var(--soft); white-space: nowrap; font-variant-numeric: tabular-nums; }
.plot .y { right: calc(100% + 10px); transform: translateY(-50%); }
.plot .x { top: calc(100% + 9px); transform: translateX(-50%); }
.plot line, .plot path { vector-effect: non-scaling-stroke; }
.grid line { stroke: var(--grid); stroke-width: 1; }
path.line { fill: none; stroke: var(--c); stroke-width: 2.25; stroke-linejoin: round; }
path.line.dashed { stroke-dasharray: 6 4; }
path.raw { fill: none; stroke: var(--c); stroke-width: 1; opacity: .22; }
path.area { fill: var(--c); stroke: var(--card); stroke-width: 1; }
.bars rect { fill: var(--c); }
.matrix { width: min(100%, 460px); aspect-ratio: 1; image-rendering: pixelated; margin-top: 14px; border-radius: 8px; }
.cursor { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--soft); opacity: .5; pointer-events: none; }
.tip {
  position: absolute; z-index: 2; top: 6px; pointer-events: none; background: var(--ink); color: var(--page); border-radius: 8px;
  padding: 7px 10px; font-size: 12px; line-height: 1.5; white-space: nowrap; font-variant-numeric: tabular-nums;
}
.tip i { display: inline-block; width: 8px; height: 8px; border-radius: 2px; background: var(--c); margin-right: 6px; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 9px 14px; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead th { font-size: 13px; color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); gap: 0; padding: 8px 6px; margin: 0; }
.facts div { padding: 9px 16px; min-width: 0; }
.facts dt { font-size: 13px; color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
details { margin-top: 14px; padding: 14px 20px; }
summary { cursor: pointer; font-weight: 550; }
pre { overflow-x: auto; margin: 12px 0 0; }
.next { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr)); gap: 20px; padding: 0; margin: 0; list-style: none; }
.next li { padding: 16px 20px; min-width: 0; }
.next p { color: var(--soft); font-size: 14px; margin-top: 2px; }
.next pre { background: var(--page); border-radius: 10px; padding: 10px 12px; }
footer { color: var(--soft); font-size: 13px; padding-bottom: 40px; }

@media (max-width: 860px) {
  .top { grid-template-columns: 1fr; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .chart.small { grid-column: span 6; }
}
@media (max-width: 620px) {
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  header { padding-top: 22px; }
  .chart.small { grid-column: span 12; }
  .chart, .stage { padding-left: 14px; padding-right: 14px; }
  .plot { margin-left: 48px; height: 230px; }
  .view { min-height: 310px; }
  .tile { padding: 13px 15px; }
  .tile strong { font-size: 29px; }
  section { margin-bottom: 32px; }
}
@media print { .controls, #theme { display: none !important; } .card, .chart { break-inside: avoid; box-shadow: none; } }
)css";

}  // namespace megafold
