/** The studio: draws flows, and tries them. */

import { mount } from "svelte";
import "@xyflow/svelte/dist/style.css";
import "./studio.css";
import Studio from "./Studio.svelte";

const target = document.getElementById("studio") as HTMLElement;
mount(Studio, { target, props: { name: target.dataset.name ?? "", logo: target.dataset.logo ?? "" } });
