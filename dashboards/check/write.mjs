// Writes a dashboard as TypeScript: literals of Grafana's own types, which `tsc` then checks. A key that Grafana does not
// know, a value that it does not take and one that it misses are errors of types. `make test-dashboard` runs it.
//
//     node write.mjs DASHBOARD.json > dashboard.ts

import { readFileSync } from "node:fs";

const dashboard = JSON.parse(readFileSync(process.argv[2], "utf8"));

/** The types of each kind of panel, as @grafana/schema has them. */
const PANELS = {
  timeseries: "TimeSeriesPanelCfg",
  stat: "StatPanelCfg",
  heatmap: "HeatmapPanelCfg",
  table: "TablePanelCfg",
};

/** Those whose fields have no settings of their own. */
const WITHOUT_FIELDS = ["stat"];

const kinds = [...new Set(dashboard.panels.map((panel) => panel.type))].filter((kind) => kind !== "row");
const unknown = kinds.filter((kind) => !PANELS[kind]);
if (unknown.length > 0) {
  console.error(`write.mjs: the types of ${unknown.join(", ")} are not in its table`);
  process.exit(1);
}

// `Json` is how a value of a type is written in JSON: an enum's values stand there as texts and numbers.
const lines = [
  `import type * as grafana from "@grafana/schema";`,
  ...kinds.map(
    (kind) =>
      `import type * as ${kind} from "@grafana/schema/dist/esm/raw/composable/${kind}/panelcfg/x/${PANELS[kind]}_types.gen.d.ts";`,
  ),
  `type Json<T> = T extends string ? \`\${T}\``,
  `  : T extends number ? (\`\${T}\` extends \`\${infer N extends number}\` ? N : T)`,
  `  : T extends boolean | null | undefined ? T`,
  `  : unknown extends T ? unknown`,
  `  : T extends readonly (infer E)[] ? Json<E>[]`,
  `  : T extends object ? { [K in keyof T]: Json<T[K]> } : T;`,
  // Prometheus' queries are not in the package: https://github.com/grafana/grafana/blob/v11.6.0/packages/grafana-prometheus/src/dataquery.ts
  `type Query = Json<grafana.DataQuery> & { datasource: Json<grafana.DataSourceRef>; expr: string; legendFormat?: string; range?: boolean; instant?: boolean;`,
  `  exemplar?: boolean; interval?: string; editorMode?: "code" | "builder"; format?: "time_series" | "table" | "heatmap" };`,
  // Null is what JSON has for minus infinity, the lower end of a first step.
  `type Thresholds = { mode: \`\${grafana.ThresholdsMode}\`; steps: { color: string; value: number | null }[] };`,
  `type Defaults<C> = Json<Omit<grafana.FieldConfig, "custom" | "thresholds" | "mappings">> & { custom?: Json<C>; thresholds?: Thresholds; mappings?: Json<grafana.ValueMapping>[] };`,
  `type Of<O, C> = Json<Omit<grafana.Panel, "options" | "fieldConfig" | "targets">> & { gridPos: Json<grafana.GridPos>; id: number; title: string; options: Json<O>; targets: Query[];`,
  `  fieldConfig: { defaults: Defaults<C>; overrides: { matcher: Json<grafana.MatcherConfig>; properties: { id: string; value?: unknown }[] }[] } };`,
];

const type = (panel) => (panel.type === "row" ? "Json<grafana.RowPanel>" : `Of<${panel.type}.Options, ${WITHOUT_FIELDS.includes(panel.type) ? "never" : `${panel.type}.FieldConfig`}>`);

// `definition` and `error` are of queries' own variables; the package knows what all kinds have in common.
const own = `{ templating: { list: (Json<grafana.VariableModel> & { definition?: string })[] } }`;
const { panels, ...rest } = dashboard;
lines.push(`export const dashboard: Json<Omit<grafana.Dashboard, "panels" | "templating">> & ${own} = ${JSON.stringify(rest, null, 2)};`);
for (const panel of panels) {
  lines.push(`export const panel${panel.id}: ${type(panel)} = ${JSON.stringify(panel, null, 2)};`);
}

// Mistakes on purpose, each of which has to be found: an error that is expected and does not come is an error.
const plant = (kind, damage) => {
  const panel = structuredClone(panels.find((panel) => panel.type === kind));
  damage(panel);
  return panel;
};
const planted = [
  plant("timeseries", (panel) => (panel.fieldConfig.defaults.custom.drawStyle = "lines")),
  plant("timeseries", (panel) => (panel.fieldConfig.defaults.custom.lineWidht = 1)),
  plant("timeseries", (panel) => (panel.options.legend.placement = "below")),
  plant("timeseries", (panel) => (panel.fieldConfig.defaults.units = "s")),
  plant("timeseries", (panel) => (panel.targets[0].expression = "up")),
  plant("timeseries", (panel) => (panel.gridPos.width = 3)),
  plant("stat", (panel) => (panel.options.textMode = "names")),
  plant("stat", (panel) => (panel.fieldConfig.defaults.color.mode = "threshold")),
  plant("stat", (panel) => (panel.fieldConfig.defaults.thresholds.steps[0].value = "0")),
  plant("heatmap", (panel) => (panel.options.yAxis.axisPlacement = "west")),
  plant("table", (panel) => (panel.options.cellHeight = "small")),
  plant("row", (panel) => (panel.collapsed = "no")),
];
planted.forEach((panel, index) => {
  lines.push("// @ts-expect-error", `export const planted${index}: ${type(panel)} = ${JSON.stringify(panel)};`);
});

console.log(lines.join("\n"));
