#!/bin/sh
# Makes the small captures in samples/captures/ with GStreamer's encoders and payloaders: for each codec
# gst-CODEC.skycap (what a publisher sends) and gst-CODEC.coded (what its encoder made, end to end, to compare with).
# AV1 has no payloader in GStreamer 1.22: only .coded is made.
# Needs gstreamer1.0-plugins-{base,good,bad,ugly} and this repository's cargo. Run from anywhere.
set -eu
cd "$(dirname "$0")/.."
out=samples/captures
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# pipeline NAME RTP-NAME SOURCE-AND-ENCODER PAYLOADER
make_capture() {
    gst-launch-1.0 -q $3 ! tee name=t \
        t. ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! $4 seqnum-offset=65500 timestamp-offset=4294900000 \
           ! rtpstreampay ! filesink location="$work/$1.rtp" \
        t. ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! filesink location="$out/gst-$1.coded"
    cargo run -q -p skywave-media --example rtp_to_skycap -- "$work/$1.rtp" "$2" "$out/gst-$1.skycap"
}

test_video="videotestsrc num-buffers=60 pattern=ball ! video/x-raw,format=I420,width=320,height=180,framerate=30/1"
make_capture vp8 VP8 "$test_video ! vp8enc deadline=1 keyframe-max-dist=30 target-bitrate=150000" \
    "rtpvp8pay mtu=600 picture-id-mode=2"
make_capture vp9 VP9 "$test_video ! vp9enc deadline=1 cpu-used=8 keyframe-max-dist=30 target-bitrate=150000" \
    "rtpvp9pay mtu=600 picture-id-mode=2"
make_capture h264 H264 "$test_video ! x264enc tune=zerolatency key-int-max=30 bitrate=150 speed-preset=veryfast
    ! video/x-h264,stream-format=byte-stream,alignment=au,profile=constrained-baseline" \
    "rtph264pay mtu=600 config-interval=-1 aggregate-mode=zero-latency"
make_capture h264-bframes H264 "$test_video ! x264enc bframes=2 b-adapt=false key-int-max=30 bitrate=150 speed-preset=veryfast
    ! video/x-h264,stream-format=byte-stream,alignment=au,profile=main" \
    "rtph264pay mtu=600 config-interval=-1"
make_capture opus opus "audiotestsrc num-buffers=100 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=2
    ! opusenc bitrate=48000" "rtpopuspay"
gst-launch-1.0 -q $test_video ! av1enc cpu-used=8 usage-profile=realtime keyframe-max-dist=30 target-bitrate=150 lag-in-frames=0 \
    ! av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu ! filesink location="$out/gst-av1.coded"
ls -l "$out"
