/** Lines that tell what has happened, on the page and to screen readers, for a while. */

const SECONDS = 8;

export interface Notice {
  id: number;
  text: string;
  bad: boolean;
}

let number = 0;

class Notices {
  shown = $state.raw<readonly Notice[]>([]);

  add(text: string, bad: boolean): void {
    const id = ++number;
    this.shown = [...this.shown.filter((one) => one.text !== text), { id, text, bad }].slice(-4);
    setTimeout(() => this.close(id), SECONDS * 1000);
  }

  close(id: number): void {
    this.shown = this.shown.filter((one) => one.id !== id);
  }
}

export const notices = new Notices();

export const announce = (text: string): void => notices.add(text, false);

/** Tells why something was refused or did not work. */
export const refused = (text: string): void => notices.add(text, true);

export const failed = (error: unknown): void => refused(error instanceof Error ? error.message : String(error));
