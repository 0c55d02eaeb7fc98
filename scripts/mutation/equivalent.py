"""Mutants that no test can kill, because nothing changes that anybody could see, with the reason for each.

The keys are names as the command prints them. A test keeps the list to mutants that exist.
"""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "intarsia/engine/optim/schedule_curves.py _cycle [compare] <= -> <": (
        "where one phase ends, the next begins with the same value"
    ),
    "intarsia/engine/optim/schedules.py ValueSchedule._walk [constant] 1 -> 2 #2": (
        "one iteration more is walked than was asked for, and kept for who asks for it"
    ),
    "intarsia/inference/explain.py Explainer._at_logits [constant] 1 -> 2 #2": (
        "the region stands there twice then, and the first is taken"
    ),
    "intarsia/inference/inputs/video_decoders.py PyAVDecoder._rewind [keyword] , backward=True -> nothing": (
        "PyAV goes to the key frame before, unless told otherwise"
    ),
    'intarsia/inference/logits/postprocess.py mean_values [condition] like.device.type == "cpu" -> True': (
        "on an accelerator there are more strips then, which take longer; the depths are the same"
    ),
    "intarsia/inference/logits/postprocess.py mean_values [arithmetic] * -> /": (
        "each view is made in strips of its own, which keep to the budget"
    ),
    "intarsia/inference/logits/postprocess.py postprocess [compare] == -> != #3": (
        "which of two ways finds the best class: the one that is faster where the map is, or the other"
    ),
    "intarsia/inference/logits/postprocess.py _label_contenders [condition] "
    "channels is not None and len(channels) == 1 -> False": (
        "the one class that may win a strip is looked for among itself; the label is the same"
    ),
    "intarsia/inference/logits/postprocess.py module [constant] 64 -> 65": "how much an accelerator does at a time",
    "intarsia/inference/logits/triton_argmax.py _logit [keyword] , other=0.0 -> nothing": (
        "what the kernel finds beyond the picture is not stored"
    ),
    "intarsia/inference/outputs/polygons.py polygons [constant] 0 -> 1": "no region has less than a pixel",
    "intarsia/inference/outputs/writer.py Outputs.encoded [constant] False -> True": (
        "the array is copied before it is written; the file is the same"
    ),
    "intarsia/inference/predictor.py Predictor.logit_maps [constant] 0 -> 1": (
        "which random numbers a pipeline gets that should draw none; they are the same each time"
    ),
    "intarsia/inference/raster/predict.py _finished_strips [condition] parts is None -> True": (
        "the first process asks the folder once more, which says what it has just been told"
    ),
    "intarsia/layers/distributed.py mean_over_processes [call] torch.distributed.is_available() -> torch.distributed": (
        "a build of torch without processes is asked for; here there are none such"
    ),
    "intarsia/losses/dice.py DiceLoss._counted [compare] < -> <=": (
        "a class behind the last one is nowhere in the maps; cut around it, they are whole"
    ),
    'intarsia/losses/set_criterion.py SetCriterion._both_costs [condition] self.mask_loss == "focal" -> True': (
        "the cross entropy is computed twice then, instead of once and a difference; the numbers are the same"
    ),
    "intarsia/metrics/calibration.py Calibration.update [constant] True -> False": (
        "the processor waits until counts are on the device; the counts are the same"
    ),
    "intarsia/metrics/foreground.py ForegroundScores.state [keyword] , dtype=torch.int64 -> nothing": (
        "whole numbers are int64 anyway"
    ),
    "intarsia/metrics/confusion.py check_outside [call] counts.tolist() -> counts": (
        "the numbers are asked for one by one then; what is found and said is the same"
    ),
}
