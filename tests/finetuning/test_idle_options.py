from pipeline.finetuning.options import FinetuneOptions


def test_options_that_change_nothing_beside_others_are_named():
    options = FinetuneOptions(
        views=9, learning_rate=1e-3, find_learning_rate=True, patience=8, epochs=4, keep="best"
    )
    views, rate, patience = options.describe_idle(uses_trunk_cache=False)
    assert views.startswith("`views=9` changes nothing without a trunk cache")
    assert rate.startswith("`learning_rate=0.001` is used only if the sweep")
    assert patience == "`patience=8` changes nothing with `epochs=4`: training ends before."
    (patience,) = FinetuneOptions(patience=3).describe_idle(uses_trunk_cache=False)
    assert patience.startswith("`patience=3` changes nothing with `keep='last'`")
    assert FinetuneOptions(views=9).describe_idle(uses_trunk_cache=True) == []
    assert FinetuneOptions().describe_idle(uses_trunk_cache=False) == []
