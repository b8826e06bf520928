// Dates in words and in time zones, for en-US and en-GB: the engine brings no Intl. Other locales get English.
const MONTHS = "January February March April May June July August September October November December".split(" ");
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");
const offsets = new Map();
const offsetAt = (zone, time) => {
  if (zone === undefined) return -new Date(time).getTimezoneOffset() * 60;
  if (/^(utc|gmt)$/i.test(zone)) return 0;
  const key = `${zone} ${Math.floor(time / 900000)}`; // no zone changes inside a quarter of an hour
  if (!offsets.has(key)) offsets.set(key, host("zone", stringify([String(zone), Math.floor(time / 1000)])));
  const found = offsets.get(key);
  if (found === "") throw new RangeError(`Invalid time zone specified: ${zone}`);
  return Number(found);
};
const two = (number) => String(number).padStart(2, "0");
const sized = (number, how) => (how === "2-digit" ? two(number % 100) : String(number));
const named = (names, n, how) => (how === "long" ? names[n] : how === "narrow" ? names[n][0] : names[n].slice(0, 3));
const STYLES = {
  full: { weekday: "long", year: "numeric", month: "long", day: "numeric" },
  long: { year: "numeric", month: "long", day: "numeric" },
  medium: { year: "numeric", month: "short", day: "numeric" },
  short: { year: "2-digit", month: "numeric", day: "numeric" },
};
const TIMES = { hour: "numeric", minute: "2-digit", second: "2-digit" };
const chosen = (given, kind) => {
  const options = { ...given };
  if (options.dateStyle) Object.assign(options, STYLES[options.dateStyle]);
  if (options.timeStyle) Object.assign(options, TIMES, options.timeStyle === "short" ? { second: undefined } : {});
  const date = ["weekday", "year", "month", "day"].some((name) => options[name]);
  const time = ["hour", "minute", "second"].some((name) => options[name]);
  if (kind !== "time" && (kind === "date" ? !date : !date && !time)) Object.assign(options, { year: "numeric", month: "numeric", day: "numeric" });
  if (kind === "time" ? !time : kind === "both" && !date && !time) Object.assign(options, TIMES);
  return options;
};
const dateParts = (at, o, british) => {
  const weekday = o.weekday && named(DAYS, at.getUTCDay(), o.weekday);
  const day = o.day && sized(at.getUTCDate(), o.day), year = o.year && sized(at.getUTCFullYear(), o.year);
  if (!/^(long|short|narrow)$/.test(o.month ?? "")) {
    const how = british && o.day ? "2-digit" : o.month;
    const month = o.month && sized(at.getUTCMonth() + 1, how);
    const digits = british ? [day && two(at.getUTCDate()), month, year] : [month, day, year];
    return [weekday, digits.filter(Boolean).join("/")].filter(Boolean).join(", ");
  }
  let month = named(MONTHS, at.getUTCMonth(), o.month);
  if (british && month === "Sep") month = "Sept";
  if (british) return [weekday, [day, month, year].filter(Boolean).join(" ")].filter(Boolean).join(o.weekday === "long" ? " " : ", ");
  return [weekday, [month, day].filter(Boolean).join(" ") + (year ? `${day ? "," : ""} ${year}` : "")].filter(Boolean).join(", ");
};
const timeParts = (at, o, british) => {
  const twelve = o.hour12 ?? (o.hourCycle ? /^h1[12]$/.test(o.hourCycle) : !british);
  const hours = at.getUTCHours();
  const hour = o.hour && (twelve ? sized(hours % 12 || 12, o.hour) : two(hours));
  const minute = o.minute && (o.hour || o.second ? two(at.getUTCMinutes()) : String(at.getUTCMinutes()));
  const second = o.second && (o.minute ? two(at.getUTCSeconds()) : String(at.getUTCSeconds()));
  const text = [hour, minute, second].filter(Boolean).join(":");
  const half = hours < 12 ? "AM" : "PM";
  return twelve && o.hour ? `${text} ${british ? half.toLowerCase() : half}` : text;
};
const zoneName = (time, o) => {
  if (!o.timeZoneName) return "";
  const minutes = offsetAt(o.timeZone, time) / 60;
  if (minutes === 0) return /^utc$/i.test(o.timeZone ?? "") ? "UTC" : "GMT";
  const size = Math.abs(minutes);
  return `GMT${minutes < 0 ? "-" : "+"}${Math.floor(size / 60)}${size % 60 ? `:${two(size % 60)}` : ""}`;
};
const formatted = (date, locale, given, kind) => {
  const time = Number(date);
  if (Number.isNaN(time)) return "Invalid Date";
  const british = /^en-(?!US)/i.test(String([].concat(locale ?? "en-US")[0]));
  const options = chosen(given, kind);
  const at = new Date(time + offsetAt(options.timeZone, time) * 1000);
  const day = dateParts(at, options, british), clock = timeParts(at, options, british);
  const long = options.month === "long" && (options.dateStyle || options.weekday || british);
  return [[day, clock].filter(Boolean).join(long ? " at " : ", "), zoneName(time, options)].filter(Boolean).join(" ");
};
class DateTimeFormat {
  #locale;
  #options;
  constructor(locale, options = {}) {
    offsetAt(options.timeZone, Date.now());
    [this.#locale, this.#options] = [locale, options];
  }
  format(date = Date.now()) {
    return formatted(date, this.#locale, this.#options, "any");
  }
  formatToParts(date = Date.now()) {
    const names = ["weekday", "year", "month", "day", "hour", "minute", "second"];
    const without = { ...this.#options, ...Object.fromEntries(names.map((name) => [name, undefined])) };
    return names
      .filter((name) => this.#options[name])
      .map((type) => ({ type, value: formatted(date, this.#locale, { ...without, [type]: this.#options[type] }, "any") }));
  }
  resolvedOptions() {
    return { locale: String(this.#locale ?? "en-US"), calendar: "gregory", numberingSystem: "latn", timeZone: "UTC", ...this.#options };
  }
}
const grouped = (value, options = {}) => {
  const number = Number(value);
  if (!Number.isFinite(number)) return Number.isNaN(number) ? "NaN" : number < 0 ? "-∞" : "∞";
  const percent = options.style === "percent";
  const least = options.minimumFractionDigits ?? (options.style === "currency" ? 2 : 0);
  const most = options.maximumFractionDigits ?? Math.max(least, options.style === "currency" ? 2 : percent ? 0 : 3);
  const [whole, part = ""] = Math.abs(percent ? number * 100 : number).toFixed(most).split(".");
  const shortened = part.replace(/0+$/, "").padEnd(least, "0");
  const text = (options.useGrouping === false ? whole : whole.replace(/\B(?=(\d{3})+$)/g, ",")) + (shortened && `.${shortened}`);
  const symbol = options.style === "currency" ? ({ USD: "$", EUR: "€", GBP: "£", JPY: "¥", INR: "₹" }[options.currency] ?? `${options.currency} `) : "";
  return (number < 0 ? "-" : "") + symbol + text + (percent ? "%" : "");
};
class NumberFormat {
  #options;
  constructor(_, options = {}) {
    this.#options = options;
  }
  format(value) {
    return grouped(value, this.#options);
  }
}
for (const [name, kind] of Object.entries({ toLocaleString: "both", toLocaleDateString: "date", toLocaleTimeString: "time" }))
  Object.defineProperty(Date.prototype, name, {
    value: function (locale, options) { return formatted(this, locale, options, kind); },
    writable: true,
    configurable: true,
  });
Object.defineProperty(Number.prototype, "toLocaleString", {
  value: function (_, options) { return grouped(this, options); },
  writable: true,
  configurable: true,
});
globals({ Intl: { DateTimeFormat, NumberFormat } });
