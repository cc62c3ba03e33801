// Buttons that copy what stands beside them.
function offerCopies() {
  if (!navigator.clipboard) return; // plain http on another machine
  for (const text of document.querySelectorAll("[data-copy]")) {
    if (text.parentElement.querySelector("button")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = "Copy";
    button.onclick = async () => {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    };
    text.parentElement.append(button);
  }
}
