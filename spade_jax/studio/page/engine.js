// The engine, of which the page knows this and nothing else:
//   model                          what /api/model says
//   synthesise(ids, style, classStyles)  {bitmap, png, milliseconds}; the last a Map
//                                  from ids of classes to {style} of their own
//   encode(file)                   Float32Array, the style of a photograph
//   readLayout(file)               [{how, ids}]
//   landscape(seed)                Uint16Array
//   onchange(words)                called with what there is to say of the connection
// One is the server's WebSocket, the other a web worker with the model itself.

export async function openEngine() {
  // A static export has its model beside the page.
  const isStatic = document.documentElement.dataset.engine === "worker";
  const { open } = await import(isStatic ? "./onnx.js" : "./socket.js");
  return open();
}
