// Opens pages in Chromium, wide and narrow, light and dark: no serious or critical violation of
// axe-core, no sideways scroll, no gap in the outline; and says on how many sheets of A4 each page
// prints. Not part of CI.
//
//     npm install --prefix TOOLS axe-core playwright-core
//     NODE_PATH=TOOLS/node_modules node parity/pages.mjs gallery.html report.html
//
// CHROMIUM names the browser; /usr/bin/chromium if not given.
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(import.meta.url);
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");

const flags = ["--no-sandbox", "--disable-gpu", "--no-first-run"];
const quiet = ["--disable-background-networking", "--disable-sync"];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [...flags, ...quiet],
});
let failed = false;
for (const file of process.argv.slice(2)) {
  for (const width of [1280, 390]) {
    for (const colorScheme of ["light", "dark"]) {
      // The pages forbid all scripts; only this context lets the checker in.
      const context = await browser.newContext({
        viewport: { width, height: 900 }, colorScheme, bypassCSP: true,
      });
      const page = await context.newPage();
      await page.goto("file://" + path.resolve(file));
      await page.addScriptTag({ path: axe });
      const found = await page.evaluate(async () => {
        const { violations } = await axe.run(document, { resultTypes: ["violations"] });
        const levels = [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")].map((h) => +h.tagName[1]);
        return {
          violations: violations.map((v) => `${v.impact} ${v.id} (${v.nodes.length})`),
          sideways: document.documentElement.scrollWidth > innerWidth,
          gap: levels.some((level, i) => level > (levels[i - 1] ?? 0) + 1),
        };
      });
      const bad = found.violations.filter((v) => /^(serious|critical)/.test(v));
      failed ||= bad.length > 0 || found.sideways || found.gap;
      console.log(path.basename(file), width, colorScheme, JSON.stringify(found));
      if (width === 1280 && colorScheme === "light") {
        const pdf = await page.pdf({ format: "A4", preferCSSPageSize: true });
        const sheets = pdf.toString("latin1").match(/\/Type\s*\/Page[^s]/g)?.length;
        console.log(path.basename(file), "prints on", sheets, "sheets");
      }
      await context.close();
    }
  }
}
await browser.close();
process.exit(failed ? 1 : 0);
