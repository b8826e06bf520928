/** The page's address: which flow, or which other page, is open. */

export type Page = "flows" | "credentials";

class Address {
  flow = $state("");
  page = $state<Page>("flows");

  constructor() {
    this.#read();
    addEventListener("popstate", () => this.#read());
  }

  #read(): void {
    const asked = new URLSearchParams(location.search);
    this.flow = asked.get("flow") ?? "";
    this.page = asked.get("page") === "credentials" ? "credentials" : "flows";
  }

  #go(query: string): void {
    history.pushState(null, "", location.pathname + query);
    this.#read();
  }

  openFlow(id: string): void {
    this.#go(`?flow=${encodeURIComponent(id)}`);
  }

  openPage(page: Page): void {
    this.#go(page === "flows" ? "" : `?page=${page}`);
  }
}

export const address = new Address();
