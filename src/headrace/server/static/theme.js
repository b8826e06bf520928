// Runs before the page is drawn: the colours that were chosen last time.
try {
  const theme = localStorage.getItem("headrace.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // storage is forbidden: the system's colours
}
