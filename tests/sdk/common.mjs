// What the checks of several SDKs have in common.

import assert from "node:assert/strict";

// What the simulated model makes of a prompt.
export const said = (prompt) => `Hello from the Azure simulator. You said: ${prompt}`;

// All things of a stream, or of pages.
export async function all(pages) {
  const things = [];
  for await (const thing of await pages) things.push(thing);
  return things;
}

// The error of a call, which must be of this kind.
export async function refused(kind, call) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    assert.equal(error.constructor, kind, error.stack);
    return error;
  }
  throw new assert.AssertionError({ message: `no ${kind.name} but ${JSON.stringify(answer)}` });
}
