// The camera: its live image, and one frame of it at a time as a JPEG.

import { byId } from "./dom.js";

const LONGEST_SIDE = 800;
const QUALITY = 0.85;
const REFUSALS = {
  NotAllowedError: "This page may not use the camera. Allow it in the browser's settings for this page, then try again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is in use by another program.",
};

/** Browsers offer a camera only over https and on localhost. */
export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

export class Camera {
  #stream = null;
  #canvas = document.createElement("canvas");

  /** `onEnd()` is called when the camera stops: by `stop`, when the page is hidden, or when the camera is unplugged. */
  constructor(onEnd) {
    this.onEnd = onEnd;
    this.video = byId("camera");
    document.addEventListener("visibilitychange", () => document.hidden && this.stop());
    addEventListener("pagehide", () => this.stop());
  }

  get running() {
    return this.#stream !== null;
  }

  /** Show the camera's image. Throws an error whose message says why there is none. */
  async start() {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      this.#stream = stream;
      for (const track of stream.getTracks()) track.addEventListener("ended", () => this.stop());
      this.video.srcObject = stream;
      this.video.hidden = false;
      await this.video.play();
    } catch (error) {
      this.stop();
      throw new Error(REFUSALS[error.name] ?? "The camera can not be used.");
    }
    if (document.hidden) this.stop();
  }

  stop() {
    if (!this.running) return;
    for (const track of this.#stream.getTracks()) track.stop();
    this.#stream = null;
    this.video.srcObject = null;
    this.video.hidden = true;
    this.onEnd();
  }

  /** Resolve to the next frame as a JPEG. */
  async frame() {
    await new Promise((resolve) => this.video.requestVideoFrameCallback?.(resolve) ?? requestAnimationFrame(resolve));
    const { videoWidth: width, videoHeight: height } = this.video;
    const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
    Object.assign(this.#canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    this.#canvas.getContext("2d").drawImage(this.video, 0, 0, this.#canvas.width, this.#canvas.height);
    return new Promise((resolve) => this.#canvas.toBlob(resolve, "image/jpeg", QUALITY));
  }

  get size() {
    return { width: this.video.videoWidth, height: this.video.videoHeight };
  }
}
