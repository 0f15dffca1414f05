# ActionFormer at laptop size for the 30 accelerometer features of 50 Salads.
_base_ = ["thumos_i3d.py"]

dataset = dict(
    train=dict(
        pipeline=[
            dict(type="LoadFeats", feat_format="npy"),
            dict(type="ConvertToTensor", keys=["feats", "gt_segments", "gt_labels"]),
            dict(type="RandomTrunc", trunc_len=576, trunc_thresh=0.5, crop_ratio=[0.9, 1.0]),
            dict(type="Rearrange", keys=["feats"], ops="t c -> c t"),
            dict(type="Collect", inputs="feats", keys=["masks", "gt_segments", "gt_labels"]),
        ],
    ),
)
model = dict(
    projection=dict(out_channels=64, max_seq_len=576, input_pdrop=0.0),
    neck=dict(in_channels=64, out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
)
solver = dict(train=dict(batch_size=1, num_workers=2))
optimizer = dict(lr=1e-3)
scheduler = dict(warmup_epoch=5, max_epoch=60)
workflow = dict(checkpoint_interval=20, end_epoch=60)
