// The camera: its stream in a video element, from the front or the back.

const camera = { stream: null, facing: "environment" };

const CAMERA_ERRORS = {
  NotAllowedError: "The camera is not allowed for this page. Allow it in the browser's settings for "
    + "this page, or choose a picture instead.",
  NotFoundError: "There is no camera here. Choose a picture instead.",
  NotReadableError: "Another program uses the camera. Close it and try again, or choose a picture.",
};

function canUseCamera() {
  return Boolean(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
}

async function startCamera(video) {
  stopCamera(video);
  try {
    camera.stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: camera.facing, width: { ideal: 1280 }, height: { ideal: 720 } },
    });
  } catch (error) {
    throw new PictureError(CAMERA_ERRORS[error.name] || "The camera could not be opened: " + error.message);
  }
  video.srcObject = camera.stream;
  // A front camera is shown as a mirror would; what is classified is not turned round.
  const { facingMode } = camera.stream.getVideoTracks()[0].getSettings();
  video.classList.toggle("mirrored", facingMode === "user");
  await video.play();
}

function stopCamera(video) {
  if (camera.stream) camera.stream.getTracks().forEach(track => track.stop());
  camera.stream = null;
  video.srcObject = null;
}

async function hasSeveralCameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter(device => device.kind === "videoinput").length > 1;
}

function turnCamera() {
  camera.facing = camera.facing === "user" ? "environment" : "user";
}
