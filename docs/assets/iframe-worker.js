// Browsers start no worker from a file, and the search runs in one: there it runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inside = this.frame.contentWindow;
      inside.document.open();
      inside.document.write(`<script>
        var postMessage = function (data) { parent.dispatchEvent(new MessageEvent("from-worker", { data: data })); };
        var importScripts = function () {
          return Array.from(arguments).reduce(function (done, src) {
            return done.then(function () {
              return new Promise(function (loaded, failed) {
                var script = document.createElement("script");
                script.src = src;
                script.onload = loaded;
                script.onerror = failed;
                document.body.appendChild(script);
              });
            });
          }, Promise.resolve());
        };
      <\/script><body><script src="${url}"><\/script></body>`);
      inside.document.close();
      const told = (event) => {
        const message = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      };
      window.addEventListener("from-worker", told);
      this.ready = new Promise((done) => this.frame.addEventListener("load", done, { once: true }));
    }
    postMessage(data) {
      this.ready.then(() =>
        this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() { this.frame.remove(); }
  };
}
