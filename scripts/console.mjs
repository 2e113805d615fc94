// The console in headless Chromium: it opens with the token, shows every chip, breaks one by click and one by keyboard,
// mends it, fits 320 px, and is photographed.
//
//   npm install playwright-core && node scripts/console.mjs http://127.0.0.1:8001/#TOKEN docs
import { chromium } from "playwright-core";
import { strict as assert } from "node:assert";

const [url, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const [name, width, height, colorScheme] of [["wide", 1440, 1000, "light"], ["dark", 1440, 1000, "dark"], ["phone", 320, 900, "light"], ["4k", 3840, 2160, "dark"]]) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme });
  const errors = [];
  page.on("pageerror", error => errors.push(error.message));
  await page.goto(url);
  await page.waitForSelector(".chip[data-index]");
  await page.waitForTimeout(1600);
  const chips = await page.locator(".chip[data-index]").count();
  assert(chips > 0);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert(overflow <= 0, `${name}: the page is ${overflow} px too wide`);
  if (name === "wide") {
    const first = page.locator(".chip[data-index='0']");
    await first.click();
    await page.waitForSelector(".chip[data-index='0'].dead");
    await first.focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".chip[data-index='1'].dead");
    await page.waitForTimeout(700);
    await page.screenshot({ path: `${folder}/console-broken.png` });
    await first.click();
    await page.locator(".chip[data-index='1']").click();
    await page.waitForSelector(".chip[data-index='1']:not(.dead)");
    await page.waitForTimeout(700);
  }
  await page.screenshot({ path: `${folder}/console-${name}.png` });
  assert.deepEqual(errors, []);
  console.log(`${name}: ${chips} chips, no error, no overflow`);
  await page.close();
}
await browser.close();
