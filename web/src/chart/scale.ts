// Linear and logarithmic scales with the ticks of d3-array. d3-scale would bring colors, times and
// their interpolation along: a fifth of the script for what stands here.
import { tickIncrement, ticks as even } from "d3-array";

export interface Scale {
  (value: number): number;
  domain: () => [number, number];
  range: () => [number, number];
  ticks: (count: number) => number[];
}

/** Values low..high to from..to in proportion. */
export function linear([low, high]: [number, number], range: [number, number]): Scale {
  const at = (value: number) => range[0] + ((value - low) / (high - low)) * (range[1] - range[0]);
  return Object.assign(at, {
    domain: (): [number, number] => [low, high],
    range: () => range,
    ticks: (count: number) => even(low, high, count),
  });
}

/** Values low..high, above 0, to from..to in proportion of their logarithms; ticks are 1 to 9 times
 * the powers of ten. */
export function logarithmic([low, high]: [number, number], range: [number, number]): Scale {
  const from = Math.log10(low),
    to = Math.log10(high);
  const at = (value: number) =>
    range[0] + ((Math.log10(value) - from) / (to - from)) * (range[1] - range[0]);
  const ticks = (count: number) => {
    const found: number[] = [];
    for (let power = Math.floor(from); power <= Math.ceil(to); power++) {
      for (let digit = 1; digit < 10; digit++) {
        const value = power < 0 ? digit / 10 ** -power : digit * 10 ** power;
        if (value >= low * (1 - 1e-12) && value <= high * (1 + 1e-12)) found.push(value);
      }
    }
    return found.length > 1 ? found : even(low, high, count);
  };
  return Object.assign(at, { domain: (): [number, number] => [low, high], range: () => range, ticks });
}

/** The domain widened to even ticks: by steps of `count` ticks, or to whole powers of ten. */
export function widened([low, high]: [number, number], log: boolean, count = 10): [number, number] {
  if (log) return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high))];
  // As d3's nice(): a wider domain may ask for a wider step, so it is tried until it holds.
  let last = 0;
  for (let tries = 0; tries < 10; tries++) {
    const step = tickIncrement(low, high, count);
    if (step === last || !Number.isFinite(step) || step === 0) break;
    if (step > 0) [low, high] = [Math.floor(low / step) * step, Math.ceil(high / step) * step];
    else [low, high] = [Math.ceil(low * step) / step, Math.floor(high * step) / step];
    last = step;
  }
  return [low, high];
}
