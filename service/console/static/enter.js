// A link's secret stands behind "#", where no server and no log sees it. It is taken out of the
// address first, so that it stays in no history, and then sent as a form.
const secret = location.hash.slice(1);
const form = document.getElementById("enter");
history.replaceState(null, "", location.pathname);
if (secret) {
  form.elements.link.value = secret;
  form.submit();
} else {
  location.replace(form.dataset.home);
}
