import json
import kfp.dsl as kfp_dsl
from kfp.dsl import Input, Output, Dataset, HTML, Metrics, Artifact, Model
from kfp.kubernetes import add_pod_annotation, add_pod_label, security_context, use_secret_as_env


@kfp_dsl.component(
    base_image='kalecast/workbench:0.1.0',
    packages_to_install=['kfp>=2.0.0', 'kubeflow-kale==2.3.0'],
    pip_index_urls=['file:///no-package-index'],
    pip_trusted_hosts=[]
)
def load_data_step(load_data_html_report: Output[HTML], series_output_artifact: Output[Dataset], data: str = 'notebooks/data/electricity.csv', frequency: str = 'h', season: int = 24, input_length: int = 504, horizon: int = 48, minimum_history: int = 48, width: int = 256, hour_width: int = 32, blocks: int = 2, dropout: float = 0.3, epochs: int = 20, steps_per_epoch: int = 50, batch_size: int = 256, learning_rate: float = 0.002, weight_decay: float = 0.01, patience: int = 4, minutes: float = 20.0, seed: int = 1, pretrained: bool = True, test_windows: int = 7, validation_steps: int = 168, gate_margin: float = 0.0, model_name: str = 'forecaster', model_store: str = 'models/lab', namespace: str = 'kubeflow-user-example-com', server_image: str = 'kalecast/model-server:0.1.0', seldon_scales: bool = True, canary_percent: int = 10, canary_minutes: float = 5.0):
    _kale_pipeline_parameters_block = f'''
        data = '{data}'
        frequency = '{frequency}'
        season = {season}
        input_length = {input_length}
        horizon = {horizon}
        minimum_history = {minimum_history}
        width = {width}
        hour_width = {hour_width}
        blocks = {blocks}
        dropout = {dropout}
        epochs = {epochs}
        steps_per_epoch = {steps_per_epoch}
        batch_size = {batch_size}
        learning_rate = {learning_rate}
        weight_decay = {weight_decay}
        patience = {patience}
        minutes = {minutes}
        seed = {seed}
        pretrained = {pretrained}
        test_windows = {test_windows}
        validation_steps = {validation_steps}
        gate_margin = {gate_margin}
        model_name = '{model_name}'
        model_store = '{model_store}'
        namespace = '{namespace}'
        server_image = '{server_image}'
        seldon_scales = {seldon_scales}
        canary_percent = {canary_percent}
        canary_minutes = {canary_minutes}
    '''

    _kale_data_loading_block = '''
    # -----------------------DATA LOADING START--------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # -----------------------DATA LOADING END----------------------------------
    '''

    _kale_block1 = '''
    from kalecast.data.fitting import lay_out
    from kalecast.data.series import describe, load_series, notes
    from kalecast.data.steps import steps_in_words
    from kalecast.model.parameters import check_parameters
    from kalecast.plots.static import plot_series
    
    check_parameters(
        data=data,
        frequency=frequency,
        season=season,
        input_length=input_length,
        horizon=horizon,
        minimum_history=minimum_history,
        width=width,
        hour_width=hour_width,
        blocks=blocks,
        dropout=dropout,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        minutes=minutes,
        seed=seed,
        pretrained=pretrained,
        test_windows=test_windows,
        validation_steps=validation_steps,
        gate_margin=gate_margin,
        model_name=model_name,
        model_store=model_store,
        namespace=namespace,
        server_image=server_image,
        seldon_scales=seldon_scales,
        canary_percent=canary_percent,
        canary_minutes=canary_minutes,
    )
    series = lay_out(load_series(data), frequency)
    for note in notes(series):
        print(note)
    overview = describe(series)
    unknown = int(overview["unknown"].sum())
    laid = steps_in_words(len(series), frequency)
    print(f"{len(overview)} series, {laid}, {unknown:,} of them unknown")
    print(overview.to_string(index=False, float_format="{:.4g}".format))
    figure = plot_series(series)
    '''

    _kale_data_saving_block = '''
    # -----------------------DATA SAVING START---------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Save series to output artifact
    _ = _kale_marshal.save(series, "series_artifact")
    # -----------------------DATA SAVING END-----------------------------------
    '''

    # run the code blocks inside a jupyter kernel
    from kale.common.jputils import run_code as _kale_run_code

    _kale_blocks = (
        _kale_pipeline_parameters_block,
        _kale_data_loading_block,

        _kale_block1,
        _kale_data_saving_block
    )

    _kale_html_artifact = _kale_run_code(_kale_blocks)
    # Whatever the step printed, its report runs no script and sends no request.
    _kale_html_artifact = _kale_html_artifact.replace(
        "<head>", "<head><meta HTTP-EQUIV='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">", 1)
    with open(load_data_html_report.path, "w") as f:
        f.write(_kale_html_artifact)
    # Prepare output artifacts to be retrieved during the pipeline execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil

    artifact_path = _kale_marshal.get_path("series_artifact")
    _shutil.copyfile(artifact_path, series_output_artifact.path)
    series_output_artifact.metadata["marshal_path"] = artifact_path


@kfp_dsl.component(
    base_image='kalecast/workbench:0.1.0',
    packages_to_install=['kfp>=2.0.0', 'kubeflow-kale==2.3.0'],
    pip_index_urls=['file:///no-package-index'],
    pip_trusted_hosts=[]
)
def preprocess_step(preprocess_html_report: Output[HTML], series_input_artifact: Input[Dataset], history_output_artifact: Output[Dataset], series_output_artifact: Output[Dataset], data: str = 'notebooks/data/electricity.csv', frequency: str = 'h', season: int = 24, input_length: int = 504, horizon: int = 48, minimum_history: int = 48, width: int = 256, hour_width: int = 32, blocks: int = 2, dropout: float = 0.3, epochs: int = 20, steps_per_epoch: int = 50, batch_size: int = 256, learning_rate: float = 0.002, weight_decay: float = 0.01, patience: int = 4, minutes: float = 20.0, seed: int = 1, pretrained: bool = True, test_windows: int = 7, validation_steps: int = 168, gate_margin: float = 0.0, model_name: str = 'forecaster', model_store: str = 'models/lab', namespace: str = 'kubeflow-user-example-com', server_image: str = 'kalecast/model-server:0.1.0', seldon_scales: bool = True, canary_percent: int = 10, canary_minutes: float = 5.0):
    _kale_pipeline_parameters_block = f'''
        data = '{data}'
        frequency = '{frequency}'
        season = {season}
        input_length = {input_length}
        horizon = {horizon}
        minimum_history = {minimum_history}
        width = {width}
        hour_width = {hour_width}
        blocks = {blocks}
        dropout = {dropout}
        epochs = {epochs}
        steps_per_epoch = {steps_per_epoch}
        batch_size = {batch_size}
        learning_rate = {learning_rate}
        weight_decay = {weight_decay}
        patience = {patience}
        minutes = {minutes}
        seed = {seed}
        pretrained = {pretrained}
        test_windows = {test_windows}
        validation_steps = {validation_steps}
        gate_margin = {gate_margin}
        model_name = '{model_name}'
        model_store = '{model_store}'
        namespace = '{namespace}'
        server_image = '{server_image}'
        seldon_scales = {seldon_scales}
        canary_percent = {canary_percent}
        canary_minutes = {canary_minutes}
    '''
    # Saves the received artifacts to be retrieved during the nb execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil
    artifact_path = series_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(series_input_artifact.path, artifact_path)

    _kale_data_loading_block = '''
    # -----------------------DATA LOADING START--------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Load series_artifact from input artifact
    series = _kale_marshal.load("series_artifact")
    # -----------------------DATA LOADING END----------------------------------
    '''

    _kale_block1 = '''
    from kalecast.data.steps import steps_in_words
    from kalecast.data.usable import Lengths, require_usable
    from kalecast.data.windows import hold_out
    
    lengths = Lengths(frequency, season, input_length, horizon, minimum_history, test_windows)
    for note in require_usable(series, lengths):
        print(note)
    history, held_out = hold_out(series, lengths.held_out)
    learnt, kept_back = (steps_in_words(len(part), frequency) for part in (history, held_out))
    print(f"{learnt} to learn from, {kept_back} held out")
    '''

    _kale_data_saving_block = '''
    # -----------------------DATA SAVING START---------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Save history to output artifact
    _ = _kale_marshal.save(history, "history_artifact")
    # Save series to output artifact
    _ = _kale_marshal.save(series, "series_artifact")
    # -----------------------DATA SAVING END-----------------------------------
    '''

    # run the code blocks inside a jupyter kernel
    from kale.common.jputils import run_code as _kale_run_code

    _kale_blocks = (
        _kale_pipeline_parameters_block,
        _kale_data_loading_block,

        _kale_block1,
        _kale_data_saving_block
    )

    _kale_html_artifact = _kale_run_code(_kale_blocks)
    # Whatever the step printed, its report runs no script and sends no request.
    _kale_html_artifact = _kale_html_artifact.replace(
        "<head>", "<head><meta HTTP-EQUIV='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">", 1)
    with open(preprocess_html_report.path, "w") as f:
        f.write(_kale_html_artifact)
    # Prepare output artifacts to be retrieved during the pipeline execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil

    artifact_path = _kale_marshal.get_path("history_artifact")
    _shutil.copyfile(artifact_path, history_output_artifact.path)
    history_output_artifact.metadata["marshal_path"] = artifact_path
    artifact_path = _kale_marshal.get_path("series_artifact")
    _shutil.copyfile(artifact_path, series_output_artifact.path)
    series_output_artifact.metadata["marshal_path"] = artifact_path


@kfp_dsl.component(
    base_image='kalecast/workbench:0.1.0',
    packages_to_install=['kfp>=2.0.0', 'kubeflow-kale==2.3.0'],
    pip_index_urls=['file:///no-package-index'],
    pip_trusted_hosts=[]
)
def train_step(train_html_report: Output[HTML], history_input_artifact: Input[Dataset], contract_output_artifact: Output[Dataset], history_output_artifact: Output[Dataset], network_bytes_output_artifact: Output[Dataset], data: str = 'notebooks/data/electricity.csv', frequency: str = 'h', season: int = 24, input_length: int = 504, horizon: int = 48, minimum_history: int = 48, width: int = 256, hour_width: int = 32, blocks: int = 2, dropout: float = 0.3, epochs: int = 20, steps_per_epoch: int = 50, batch_size: int = 256, learning_rate: float = 0.002, weight_decay: float = 0.01, patience: int = 4, minutes: float = 20.0, seed: int = 1, pretrained: bool = True, test_windows: int = 7, validation_steps: int = 168, gate_margin: float = 0.0, model_name: str = 'forecaster', model_store: str = 'models/lab', namespace: str = 'kubeflow-user-example-com', server_image: str = 'kalecast/model-server:0.1.0', seldon_scales: bool = True, canary_percent: int = 10, canary_minutes: float = 5.0):
    _kale_pipeline_parameters_block = f'''
        data = '{data}'
        frequency = '{frequency}'
        season = {season}
        input_length = {input_length}
        horizon = {horizon}
        minimum_history = {minimum_history}
        width = {width}
        hour_width = {hour_width}
        blocks = {blocks}
        dropout = {dropout}
        epochs = {epochs}
        steps_per_epoch = {steps_per_epoch}
        batch_size = {batch_size}
        learning_rate = {learning_rate}
        weight_decay = {weight_decay}
        patience = {patience}
        minutes = {minutes}
        seed = {seed}
        pretrained = {pretrained}
        test_windows = {test_windows}
        validation_steps = {validation_steps}
        gate_margin = {gate_margin}
        model_name = '{model_name}'
        model_store = '{model_store}'
        namespace = '{namespace}'
        server_image = '{server_image}'
        seldon_scales = {seldon_scales}
        canary_percent = {canary_percent}
        canary_minutes = {canary_minutes}
    '''
    # Saves the received artifacts to be retrieved during the nb execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil
    artifact_path = history_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(history_input_artifact.path, artifact_path)

    _kale_data_loading_block = '''
    # -----------------------DATA LOADING START--------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Load history_artifact from input artifact
    history = _kale_marshal.load("history_artifact")
    # -----------------------DATA LOADING END----------------------------------
    '''

    _kale_block1 = '''
    from kalecast.model.export import draft_contract
    from kalecast.model.network import NetworkSettings, to_bytes
    from kalecast.model.training import TrainingSettings, train
    from kalecast.plots.static import plot_losses
    from kalecast.project import project_path
    
    shape = NetworkSettings(
        input_length=input_length,
        horizon=horizon,
        season=season,
        width=width,
        hour_width=hour_width,
        blocks=blocks,
        dropout=dropout,
    )
    training = TrainingSettings(
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        minutes=minutes,
        seed=seed,
        pretrained=pretrained,
        minimum_history=minimum_history,
        validation_steps=validation_steps,
    )
    network, losses = train(history, shape, training, project_path("runs/checkpoints"))
    network_bytes = to_bytes(network)
    contract = draft_contract(model_name, history, shape, frequency, minimum_history)
    print(f"{network.count_params():,} parameters, version {contract.version}")
    figure = plot_losses(losses)
    '''

    _kale_data_saving_block = '''
    # -----------------------DATA SAVING START---------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Save contract to output artifact
    _ = _kale_marshal.save(contract, "contract_artifact")
    # Save history to output artifact
    _ = _kale_marshal.save(history, "history_artifact")
    # Save network_bytes to output artifact
    _ = _kale_marshal.save(network_bytes, "network_bytes_artifact")
    # -----------------------DATA SAVING END-----------------------------------
    '''

    # run the code blocks inside a jupyter kernel
    from kale.common.jputils import run_code as _kale_run_code

    _kale_blocks = (
        _kale_pipeline_parameters_block,
        _kale_data_loading_block,

        _kale_block1,
        _kale_data_saving_block
    )

    _kale_html_artifact = _kale_run_code(_kale_blocks)
    # Whatever the step printed, its report runs no script and sends no request.
    _kale_html_artifact = _kale_html_artifact.replace(
        "<head>", "<head><meta HTTP-EQUIV='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">", 1)
    with open(train_html_report.path, "w") as f:
        f.write(_kale_html_artifact)
    # Prepare output artifacts to be retrieved during the pipeline execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil

    artifact_path = _kale_marshal.get_path("contract_artifact")
    _shutil.copyfile(artifact_path, contract_output_artifact.path)
    contract_output_artifact.metadata["marshal_path"] = artifact_path
    artifact_path = _kale_marshal.get_path("history_artifact")
    _shutil.copyfile(artifact_path, history_output_artifact.path)
    history_output_artifact.metadata["marshal_path"] = artifact_path
    artifact_path = _kale_marshal.get_path("network_bytes_artifact")
    _shutil.copyfile(artifact_path, network_bytes_output_artifact.path)
    network_bytes_output_artifact.metadata["marshal_path"] = artifact_path


@kfp_dsl.component(
    base_image='kalecast/workbench:0.1.0',
    packages_to_install=['kfp>=2.0.0', 'kubeflow-kale==2.3.0'],
    pip_index_urls=['file:///no-package-index'],
    pip_trusted_hosts=[]
)
def evaluate_step(evaluate_html_report: Output[HTML], kale_metrics_artifact: Output[Metrics], contract_input_artifact: Input[Dataset], history_input_artifact: Input[Dataset], network_bytes_input_artifact: Input[Dataset], series_input_artifact: Input[Dataset], card_output_artifact: Output[Dataset], contract_output_artifact: Output[Dataset], history_output_artifact: Output[Dataset], network_bytes_output_artifact: Output[Dataset], scores_output_artifact: Output[Dataset], series_output_artifact: Output[Dataset], data: str = 'notebooks/data/electricity.csv', frequency: str = 'h', season: int = 24, input_length: int = 504, horizon: int = 48, minimum_history: int = 48, width: int = 256, hour_width: int = 32, blocks: int = 2, dropout: float = 0.3, epochs: int = 20, steps_per_epoch: int = 50, batch_size: int = 256, learning_rate: float = 0.002, weight_decay: float = 0.01, patience: int = 4, minutes: float = 20.0, seed: int = 1, pretrained: bool = True, test_windows: int = 7, validation_steps: int = 168, gate_margin: float = 0.0, model_name: str = 'forecaster', model_store: str = 'models/lab', namespace: str = 'kubeflow-user-example-com', server_image: str = 'kalecast/model-server:0.1.0', seldon_scales: bool = True, canary_percent: int = 10, canary_minutes: float = 5.0):
    _kale_pipeline_parameters_block = f'''
        data = '{data}'
        frequency = '{frequency}'
        season = {season}
        input_length = {input_length}
        horizon = {horizon}
        minimum_history = {minimum_history}
        width = {width}
        hour_width = {hour_width}
        blocks = {blocks}
        dropout = {dropout}
        epochs = {epochs}
        steps_per_epoch = {steps_per_epoch}
        batch_size = {batch_size}
        learning_rate = {learning_rate}
        weight_decay = {weight_decay}
        patience = {patience}
        minutes = {minutes}
        seed = {seed}
        pretrained = {pretrained}
        test_windows = {test_windows}
        validation_steps = {validation_steps}
        gate_margin = {gate_margin}
        model_name = '{model_name}'
        model_store = '{model_store}'
        namespace = '{namespace}'
        server_image = '{server_image}'
        seldon_scales = {seldon_scales}
        canary_percent = {canary_percent}
        canary_minutes = {canary_minutes}
    '''
    # Saves the received artifacts to be retrieved during the nb execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil
    artifact_path = contract_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(contract_input_artifact.path, artifact_path)
    artifact_path = history_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(history_input_artifact.path, artifact_path)
    artifact_path = network_bytes_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(network_bytes_input_artifact.path, artifact_path)
    artifact_path = series_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(series_input_artifact.path, artifact_path)

    _kale_data_loading_block = '''
    # -----------------------DATA LOADING START--------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Load contract_artifact from input artifact
    contract = _kale_marshal.load("contract_artifact")
    # Load history_artifact from input artifact
    history = _kale_marshal.load("history_artifact")
    # Load network_bytes_artifact from input artifact
    network_bytes = _kale_marshal.load("network_bytes_artifact")
    # Load series_artifact from input artifact
    series = _kale_marshal.load("series_artifact")
    # -----------------------DATA LOADING END----------------------------------
    '''

    _kale_block1 = '''
    from functools import partial
    
    from kalecast.data.series import notes
    from kalecast.evaluation.backtest import backtest, gate, mean_scores, score_series, summarise
    from kalecast.model.network import from_bytes, predict
    
    network = from_bytes(network_bytes)
    forecast = partial(predict, network)
    forecasts = backtest(forecast, series, contract, test_windows, classical=["MSTL-AutoETS"])
    for note in notes(forecasts):
        print(note)
    series_scores = score_series(forecasts, history, season)
    print(mean_scores(series_scores).to_string(float_format="{:.3f}".format))
    scores = summarise(series_scores)
    print(gate(scores, gate_margin))
    '''

    _kale_block2 = '''
    from kalecast.plots.static import (
        plot_backtest,
        plot_calibration,
        plot_coverage,
        plot_error_by_hour,
        plot_scores,
    )
    
    figure = plot_scores(series_scores)
    '''

    _kale_block3 = '''
    errors_figure = plot_error_by_hour(forecasts)
    coverage_figure = plot_coverage(forecasts)
    calibration_figure = plot_calibration(forecasts)
    '''

    _kale_block4 = '''
    from kalecast.evaluation.card import model_card
    
    figure = plot_backtest(forecasts, series_scores)
    card = model_card(contract, forecasts, series_scores)
    mase = scores["mase"]
    mase_seasonal_naive = scores["mase_seasonal_naive"]
    smape = scores["smape"]
    smape_seasonal_naive = scores["smape_seasonal_naive"]
    coverage_80 = scores["coverage_80"]
    coverage_95 = scores["coverage_95"]
    msis_95 = scores["msis_95"]
    msis_95_seasonal_naive = scores["msis_95_seasonal_naive"]
    '''

    _kale_block5 = '''
    from kale.common import kfputils as _kale_kfputils
    _kale_kfp_metrics = {
        "coverage-80": coverage_80,
        "coverage-95": coverage_95,
        "mase": mase,
        "mase-seasonal-naive": mase_seasonal_naive,
        "msis-95": msis_95,
        "msis-95-seasonal-naive": msis_95_seasonal_naive,
        "smape": smape,
        "smape-seasonal-naive": smape_seasonal_naive
    }
    _kale_kfputils.generate_mlpipeline_metrics(_kale_kfp_metrics)
    '''

    _kale_data_saving_block = '''
    # -----------------------DATA SAVING START---------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Save card to output artifact
    _ = _kale_marshal.save(card, "card_artifact")
    # Save contract to output artifact
    _ = _kale_marshal.save(contract, "contract_artifact")
    # Save history to output artifact
    _ = _kale_marshal.save(history, "history_artifact")
    # Save network_bytes to output artifact
    _ = _kale_marshal.save(network_bytes, "network_bytes_artifact")
    # Save scores to output artifact
    _ = _kale_marshal.save(scores, "scores_artifact")
    # Save series to output artifact
    _ = _kale_marshal.save(series, "series_artifact")
    # -----------------------DATA SAVING END-----------------------------------
    '''

    # run the code blocks inside a jupyter kernel
    from kale.common.jputils import run_code as _kale_run_code

    _kale_blocks = (
        _kale_pipeline_parameters_block,
        _kale_data_loading_block,

        _kale_block1,
        _kale_block2,
        _kale_block3,
        _kale_block4,
        _kale_block5,
        _kale_data_saving_block
    )

    _kale_html_artifact = _kale_run_code(_kale_blocks)
    # Whatever the step printed, its report runs no script and sends no request.
    _kale_html_artifact = _kale_html_artifact.replace(
        "<head>", "<head><meta HTTP-EQUIV='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">", 1)
    with open(evaluate_html_report.path, "w") as f:
        f.write(_kale_html_artifact)
    # Prepare output artifacts to be retrieved during the pipeline execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil

    artifact_path = _kale_marshal.get_path("card_artifact")
    _shutil.copyfile(artifact_path, card_output_artifact.path)
    card_output_artifact.metadata["marshal_path"] = artifact_path
    artifact_path = _kale_marshal.get_path("contract_artifact")
    _shutil.copyfile(artifact_path, contract_output_artifact.path)
    contract_output_artifact.metadata["marshal_path"] = artifact_path
    artifact_path = _kale_marshal.get_path("history_artifact")
    _shutil.copyfile(artifact_path, history_output_artifact.path)
    history_output_artifact.metadata["marshal_path"] = artifact_path
    artifact_path = _kale_marshal.get_path("network_bytes_artifact")
    _shutil.copyfile(artifact_path, network_bytes_output_artifact.path)
    network_bytes_output_artifact.metadata["marshal_path"] = artifact_path
    artifact_path = _kale_marshal.get_path("scores_artifact")
    _shutil.copyfile(artifact_path, scores_output_artifact.path)
    scores_output_artifact.metadata["marshal_path"] = artifact_path
    artifact_path = _kale_marshal.get_path("series_artifact")
    _shutil.copyfile(artifact_path, series_output_artifact.path)
    series_output_artifact.metadata["marshal_path"] = artifact_path
    from kale.common.kfputils import load_mlpipeline_metrics
    load_mlpipeline_metrics(kale_metrics_artifact)


@kfp_dsl.component(
    base_image='kalecast/workbench:0.1.0',
    packages_to_install=['kfp>=2.0.0', 'kubeflow-kale==2.3.0'],
    pip_index_urls=['file:///no-package-index'],
    pip_trusted_hosts=[]
)
def export_model_step(export_model_html_report: Output[HTML], card_input_artifact: Input[Dataset], contract_input_artifact: Input[Dataset], history_input_artifact: Input[Dataset], network_bytes_input_artifact: Input[Dataset], scores_input_artifact: Input[Dataset], contract_output_artifact: Output[Dataset], model_file_output_artifact: Output[Model], data: str = 'notebooks/data/electricity.csv', frequency: str = 'h', season: int = 24, input_length: int = 504, horizon: int = 48, minimum_history: int = 48, width: int = 256, hour_width: int = 32, blocks: int = 2, dropout: float = 0.3, epochs: int = 20, steps_per_epoch: int = 50, batch_size: int = 256, learning_rate: float = 0.002, weight_decay: float = 0.01, patience: int = 4, minutes: float = 20.0, seed: int = 1, pretrained: bool = True, test_windows: int = 7, validation_steps: int = 168, gate_margin: float = 0.0, model_name: str = 'forecaster', model_store: str = 'models/lab', namespace: str = 'kubeflow-user-example-com', server_image: str = 'kalecast/model-server:0.1.0', seldon_scales: bool = True, canary_percent: int = 10, canary_minutes: float = 5.0):
    _kale_pipeline_parameters_block = f'''
        data = '{data}'
        frequency = '{frequency}'
        season = {season}
        input_length = {input_length}
        horizon = {horizon}
        minimum_history = {minimum_history}
        width = {width}
        hour_width = {hour_width}
        blocks = {blocks}
        dropout = {dropout}
        epochs = {epochs}
        steps_per_epoch = {steps_per_epoch}
        batch_size = {batch_size}
        learning_rate = {learning_rate}
        weight_decay = {weight_decay}
        patience = {patience}
        minutes = {minutes}
        seed = {seed}
        pretrained = {pretrained}
        test_windows = {test_windows}
        validation_steps = {validation_steps}
        gate_margin = {gate_margin}
        model_name = '{model_name}'
        model_store = '{model_store}'
        namespace = '{namespace}'
        server_image = '{server_image}'
        seldon_scales = {seldon_scales}
        canary_percent = {canary_percent}
        canary_minutes = {canary_minutes}
    '''
    # Saves the received artifacts to be retrieved during the nb execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil
    artifact_path = card_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(card_input_artifact.path, artifact_path)
    artifact_path = contract_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(contract_input_artifact.path, artifact_path)
    artifact_path = history_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(history_input_artifact.path, artifact_path)
    artifact_path = network_bytes_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(network_bytes_input_artifact.path, artifact_path)
    artifact_path = scores_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(scores_input_artifact.path, artifact_path)

    _kale_data_loading_block = '''
    # -----------------------DATA LOADING START--------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Load card_artifact from input artifact
    card = _kale_marshal.load("card_artifact")
    # Load contract_artifact from input artifact
    contract = _kale_marshal.load("contract_artifact")
    # Load history_artifact from input artifact
    history = _kale_marshal.load("history_artifact")
    # Load network_bytes_artifact from input artifact
    network_bytes = _kale_marshal.load("network_bytes_artifact")
    # Load scores_artifact from input artifact
    scores = _kale_marshal.load("scores_artifact")
    # -----------------------DATA LOADING END----------------------------------
    '''

    _kale_block1 = '''
    from dataclasses import replace
    
    from kalecast.model.export import export_model
    from kalecast.model.network import from_bytes
    
    model_file, difference = export_model(
        from_bytes(network_bytes), replace(contract, scores=scores, card=card), history
    )
    print(f"{len(model_file):,} bytes; largest relative difference from Keras {difference:.1e}\\n")
    print(card)
    '''

    _kale_data_saving_block = '''
    # -----------------------DATA SAVING START---------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Save contract to output artifact
    _ = _kale_marshal.save(contract, "contract_artifact")
    # Save model_file to output artifact
    _ = _kale_marshal.save(model_file, "model_file_artifact")
    # -----------------------DATA SAVING END-----------------------------------
    '''

    # run the code blocks inside a jupyter kernel
    from kale.common.jputils import run_code as _kale_run_code

    _kale_blocks = (
        _kale_pipeline_parameters_block,
        _kale_data_loading_block,

        _kale_block1,
        _kale_data_saving_block
    )

    _kale_html_artifact = _kale_run_code(_kale_blocks)
    # Whatever the step printed, its report runs no script and sends no request.
    _kale_html_artifact = _kale_html_artifact.replace(
        "<head>", "<head><meta HTTP-EQUIV='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">", 1)
    with open(export_model_html_report.path, "w") as f:
        f.write(_kale_html_artifact)
    # Prepare output artifacts to be retrieved during the pipeline execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil

    artifact_path = _kale_marshal.get_path("contract_artifact")
    _shutil.copyfile(artifact_path, contract_output_artifact.path)
    contract_output_artifact.metadata["marshal_path"] = artifact_path
    artifact_path = _kale_marshal.get_path("model_file_artifact")
    _shutil.copyfile(artifact_path, model_file_output_artifact.path)
    model_file_output_artifact.metadata["marshal_path"] = artifact_path


@kfp_dsl.component(
    base_image='kalecast/workbench:0.1.0',
    packages_to_install=['kfp>=2.0.0', 'kubeflow-kale==2.3.0'],
    pip_index_urls=['file:///no-package-index'],
    pip_trusted_hosts=[]
)
def deploy_step(deploy_html_report: Output[HTML], contract_input_artifact: Input[Dataset], model_file_input_artifact: Input[Model], model_uri_output_artifact: Output[Model], data: str = 'notebooks/data/electricity.csv', frequency: str = 'h', season: int = 24, input_length: int = 504, horizon: int = 48, minimum_history: int = 48, width: int = 256, hour_width: int = 32, blocks: int = 2, dropout: float = 0.3, epochs: int = 20, steps_per_epoch: int = 50, batch_size: int = 256, learning_rate: float = 0.002, weight_decay: float = 0.01, patience: int = 4, minutes: float = 20.0, seed: int = 1, pretrained: bool = True, test_windows: int = 7, validation_steps: int = 168, gate_margin: float = 0.0, model_name: str = 'forecaster', model_store: str = 'models/lab', namespace: str = 'kubeflow-user-example-com', server_image: str = 'kalecast/model-server:0.1.0', seldon_scales: bool = True, canary_percent: int = 10, canary_minutes: float = 5.0):
    _kale_pipeline_parameters_block = f'''
        data = '{data}'
        frequency = '{frequency}'
        season = {season}
        input_length = {input_length}
        horizon = {horizon}
        minimum_history = {minimum_history}
        width = {width}
        hour_width = {hour_width}
        blocks = {blocks}
        dropout = {dropout}
        epochs = {epochs}
        steps_per_epoch = {steps_per_epoch}
        batch_size = {batch_size}
        learning_rate = {learning_rate}
        weight_decay = {weight_decay}
        patience = {patience}
        minutes = {minutes}
        seed = {seed}
        pretrained = {pretrained}
        test_windows = {test_windows}
        validation_steps = {validation_steps}
        gate_margin = {gate_margin}
        model_name = '{model_name}'
        model_store = '{model_store}'
        namespace = '{namespace}'
        server_image = '{server_image}'
        seldon_scales = {seldon_scales}
        canary_percent = {canary_percent}
        canary_minutes = {canary_minutes}
    '''
    # Saves the received artifacts to be retrieved during the nb execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil
    artifact_path = contract_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(contract_input_artifact.path, artifact_path)
    artifact_path = model_file_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(model_file_input_artifact.path, artifact_path)

    _kale_data_loading_block = '''
    # -----------------------DATA LOADING START--------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Load contract_artifact from input artifact
    contract = _kale_marshal.load("contract_artifact")
    # Load model_file_artifact from input artifact
    model_file = _kale_marshal.load("model_file_artifact")
    # -----------------------DATA LOADING END----------------------------------
    '''

    _kale_block1 = '''
    from kalecast.artifact.store import keep, make_current
    from kalecast.cluster.canary import Canary, release
    from kalecast.cluster.deployment import DeploymentSettings, on_cluster, render
    
    kept_uri = keep(model_file, model_store, model_name, contract.version)
    print(f"version {contract.version} is kept at {kept_uri}")
    canary = Canary(percent=canary_percent, minutes=canary_minutes)
    if on_cluster():
        settings = DeploymentSettings(namespace=namespace, image=server_image, scales=seldon_scales)
        release(render(kept_uri, contract.version, settings), canary)
    model_uri = make_current(model_file, model_store, model_name)
    print(f"published version {contract.version} at {model_uri}")
    '''

    _kale_data_saving_block = '''
    # -----------------------DATA SAVING START---------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Save model_uri to output artifact
    _ = _kale_marshal.save(model_uri, "model_uri_artifact")
    # -----------------------DATA SAVING END-----------------------------------
    '''

    # run the code blocks inside a jupyter kernel
    from kale.common.jputils import run_code as _kale_run_code

    _kale_blocks = (
        _kale_pipeline_parameters_block,
        _kale_data_loading_block,

        _kale_block1,
        _kale_data_saving_block
    )

    _kale_html_artifact = _kale_run_code(_kale_blocks)
    # Whatever the step printed, its report runs no script and sends no request.
    _kale_html_artifact = _kale_html_artifact.replace(
        "<head>", "<head><meta HTTP-EQUIV='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">", 1)
    with open(deploy_html_report.path, "w") as f:
        f.write(_kale_html_artifact)
    # Prepare output artifacts to be retrieved during the pipeline execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil

    artifact_path = _kale_marshal.get_path("model_uri_artifact")
    _shutil.copyfile(artifact_path, model_uri_output_artifact.path)
    model_uri_output_artifact.metadata["marshal_path"] = artifact_path


@kfp_dsl.component(
    base_image='kalecast/workbench:0.1.0',
    packages_to_install=['kfp>=2.0.0', 'kubeflow-kale==2.3.0'],
    pip_index_urls=['file:///no-package-index'],
    pip_trusted_hosts=[]
)
def query_step(query_html_report: Output[HTML], model_uri_input_artifact: Input[Model], series_input_artifact: Input[Dataset], data: str = 'notebooks/data/electricity.csv', frequency: str = 'h', season: int = 24, input_length: int = 504, horizon: int = 48, minimum_history: int = 48, width: int = 256, hour_width: int = 32, blocks: int = 2, dropout: float = 0.3, epochs: int = 20, steps_per_epoch: int = 50, batch_size: int = 256, learning_rate: float = 0.002, weight_decay: float = 0.01, patience: int = 4, minutes: float = 20.0, seed: int = 1, pretrained: bool = True, test_windows: int = 7, validation_steps: int = 168, gate_margin: float = 0.0, model_name: str = 'forecaster', model_store: str = 'models/lab', namespace: str = 'kubeflow-user-example-com', server_image: str = 'kalecast/model-server:0.1.0', seldon_scales: bool = True, canary_percent: int = 10, canary_minutes: float = 5.0):
    _kale_pipeline_parameters_block = f'''
        data = '{data}'
        frequency = '{frequency}'
        season = {season}
        input_length = {input_length}
        horizon = {horizon}
        minimum_history = {minimum_history}
        width = {width}
        hour_width = {hour_width}
        blocks = {blocks}
        dropout = {dropout}
        epochs = {epochs}
        steps_per_epoch = {steps_per_epoch}
        batch_size = {batch_size}
        learning_rate = {learning_rate}
        weight_decay = {weight_decay}
        patience = {patience}
        minutes = {minutes}
        seed = {seed}
        pretrained = {pretrained}
        test_windows = {test_windows}
        validation_steps = {validation_steps}
        gate_margin = {gate_margin}
        model_name = '{model_name}'
        model_store = '{model_store}'
        namespace = '{namespace}'
        server_image = '{server_image}'
        seldon_scales = {seldon_scales}
        canary_percent = {canary_percent}
        canary_minutes = {canary_minutes}
    '''
    # Saves the received artifacts to be retrieved during the nb execution
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    import shutil as _shutil
    artifact_path = model_uri_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(model_uri_input_artifact.path, artifact_path)
    artifact_path = series_input_artifact.metadata["marshal_path"]
    if artifact_path is not None:
        _shutil.copy(series_input_artifact.path, artifact_path)

    _kale_data_loading_block = '''
    # -----------------------DATA LOADING START--------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # Load model_uri_artifact from input artifact
    model_uri = _kale_marshal.load("model_uri_artifact")
    # Load series_artifact from input artifact
    series = _kale_marshal.load("series_artifact")
    # -----------------------DATA LOADING END----------------------------------
    '''

    _kale_block1 = '''
    from kalecast.artifact.runtime import Forecaster
    from kalecast.artifact.store import fetch
    from kalecast.data.fitting import answerable, refused
    from kalecast.data.steps import span_in_words
    from kalecast.plots.static import plot_forecast
    
    forecaster = Forecaster(fetch(model_uri))
    for note in refused(series, forecaster.contract):
        print(note)
    taken = answerable(series, forecaster.contract)
    newest = [values.to_numpy() for _, values in taken.groupby("unique_id", sort=False)["y"]]
    if newest:
        answer = forecaster.forecast(newest)
        ahead = span_in_words(answer.shape[1], frequency)
        print(f"{answer.shape[0]} series, {ahead} ahead, {answer.shape[2]} quantiles")
        figure = plot_forecast(taken, answer, forecaster.contract)
    '''

    _kale_data_saving_block = '''
    # -----------------------DATA SAVING START---------------------------------
    from kale import marshal as _kale_marshal
    _kale_marshal.set_data_dir("/tmp/marshal")
    # -----------------------DATA SAVING END-----------------------------------
    '''

    # run the code blocks inside a jupyter kernel
    from kale.common.jputils import run_code as _kale_run_code

    _kale_blocks = (
        _kale_pipeline_parameters_block,
        _kale_data_loading_block,

        _kale_block1,
        _kale_data_saving_block
    )

    _kale_html_artifact = _kale_run_code(_kale_blocks)
    # Whatever the step printed, its report runs no script and sends no request.
    _kale_html_artifact = _kale_html_artifact.replace(
        "<head>", "<head><meta HTTP-EQUIV='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">", 1)
    with open(query_html_report.path, "w") as f:
        f.write(_kale_html_artifact)


@kfp_dsl.pipeline(
    name='forecast-pipeline',
    description='Hourly series in, a published and deployed forecaster out'
)
def auto_generated_pipeline(data: str = 'notebooks/data/electricity.csv', frequency: str = 'h', season: int = 24, input_length: int = 504, horizon: int = 48, minimum_history: int = 48, width: int = 256, hour_width: int = 32, blocks: int = 2, dropout: float = 0.3, epochs: int = 20, steps_per_epoch: int = 50, batch_size: int = 256, learning_rate: float = 0.002, weight_decay: float = 0.01, patience: int = 4, minutes: float = 20.0, seed: int = 1, pretrained: bool = True, test_windows: int = 7, validation_steps: int = 168, gate_margin: float = 0.0, model_name: str = 'forecaster', model_store: str = 'models/lab', namespace: str = 'kubeflow-user-example-com', server_image: str = 'kalecast/model-server:0.1.0', seldon_scales: bool = True, canary_percent: int = 10, canary_minutes: float = 5.0):
    """Auto-generated pipeline function."""

    load_data_task = load_data_step(
        data=data,
        frequency=frequency,
        season=season,
        input_length=input_length,
        horizon=horizon,
        minimum_history=minimum_history,
        width=width,
        hour_width=hour_width,
        blocks=blocks,
        dropout=dropout,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        minutes=minutes,
        seed=seed,
        pretrained=pretrained,
        test_windows=test_windows,
        validation_steps=validation_steps,
        gate_margin=gate_margin,
        model_name=model_name,
        model_store=model_store,
        namespace=namespace,
        server_image=server_image,
        seldon_scales=seldon_scales,
        canary_percent=canary_percent,
        canary_minutes=canary_minutes
    )

    security_context.set_security_context(
        task=load_data_task,
        run_as_user=65534,
        run_as_group=0,
        run_as_non_root=True
    )
    load_data_task.set_env_variable(name="HOME", value="/tmp")

    load_data_task.set_display_name("load-data-step")

    load_data_task.set_caching_options(enable_caching=False)
    use_secret_as_env(task=load_data_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID"})
    use_secret_as_env(task=load_data_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY"})
    use_secret_as_env(task=load_data_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_ENDPOINT_URL": "AWS_ENDPOINT_URL"})
    use_secret_as_env(task=load_data_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_DEFAULT_REGION": "AWS_DEFAULT_REGION"})

    load_data_task.set_cpu_request("500m")
    load_data_task.set_cpu_limit("2")
    load_data_task.set_memory_request("768Mi")
    load_data_task.set_memory_limit("2Gi")

    preprocess_task = preprocess_step(
        series_input_artifact=load_data_task.outputs["series_output_artifact"],
        data=data,
        frequency=frequency,
        season=season,
        input_length=input_length,
        horizon=horizon,
        minimum_history=minimum_history,
        width=width,
        hour_width=hour_width,
        blocks=blocks,
        dropout=dropout,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        minutes=minutes,
        seed=seed,
        pretrained=pretrained,
        test_windows=test_windows,
        validation_steps=validation_steps,
        gate_margin=gate_margin,
        model_name=model_name,
        model_store=model_store,
        namespace=namespace,
        server_image=server_image,
        seldon_scales=seldon_scales,
        canary_percent=canary_percent,
        canary_minutes=canary_minutes
    )

    security_context.set_security_context(
        task=preprocess_task,
        run_as_user=65534,
        run_as_group=0,
        run_as_non_root=True
    )
    preprocess_task.set_env_variable(name="HOME", value="/tmp")
    preprocess_task.after(load_data_task)

    preprocess_task.set_display_name("preprocess-step")

    preprocess_task.set_cpu_request("500m")
    preprocess_task.set_cpu_limit("1")
    preprocess_task.set_memory_request("512Mi")
    preprocess_task.set_memory_limit("2Gi")

    train_task = train_step(
        history_input_artifact=preprocess_task.outputs["history_output_artifact"],
        data=data,
        frequency=frequency,
        season=season,
        input_length=input_length,
        horizon=horizon,
        minimum_history=minimum_history,
        width=width,
        hour_width=hour_width,
        blocks=blocks,
        dropout=dropout,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        minutes=minutes,
        seed=seed,
        pretrained=pretrained,
        test_windows=test_windows,
        validation_steps=validation_steps,
        gate_margin=gate_margin,
        model_name=model_name,
        model_store=model_store,
        namespace=namespace,
        server_image=server_image,
        seldon_scales=seldon_scales,
        canary_percent=canary_percent,
        canary_minutes=canary_minutes
    )

    security_context.set_security_context(
        task=train_task,
        run_as_user=65534,
        run_as_group=0,
        run_as_non_root=True
    )
    train_task.set_env_variable(name="HOME", value="/tmp")
    train_task.after(preprocess_task)

    train_task.set_display_name("train-step")

    train_task.set_cpu_request("2")
    train_task.set_cpu_limit("4")
    train_task.set_memory_request("1536Mi")
    train_task.set_memory_limit("4Gi")
    train_task.set_retry(num_retries=1, backoff_duration="30s",
                         backoff_factor=2.0, backoff_max_duration="600s")

    evaluate_task = evaluate_step(
        contract_input_artifact=train_task.outputs["contract_output_artifact"],
        history_input_artifact=train_task.outputs["history_output_artifact"],
        network_bytes_input_artifact=train_task.outputs["network_bytes_output_artifact"],
        series_input_artifact=preprocess_task.outputs["series_output_artifact"],
        data=data,
        frequency=frequency,
        season=season,
        input_length=input_length,
        horizon=horizon,
        minimum_history=minimum_history,
        width=width,
        hour_width=hour_width,
        blocks=blocks,
        dropout=dropout,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        minutes=minutes,
        seed=seed,
        pretrained=pretrained,
        test_windows=test_windows,
        validation_steps=validation_steps,
        gate_margin=gate_margin,
        model_name=model_name,
        model_store=model_store,
        namespace=namespace,
        server_image=server_image,
        seldon_scales=seldon_scales,
        canary_percent=canary_percent,
        canary_minutes=canary_minutes
    )

    security_context.set_security_context(
        task=evaluate_task,
        run_as_user=65534,
        run_as_group=0,
        run_as_non_root=True
    )
    evaluate_task.set_env_variable(name="HOME", value="/tmp")
    evaluate_task.after(preprocess_task)
    evaluate_task.after(train_task)

    evaluate_task.set_display_name("evaluate-step")

    evaluate_task.set_cpu_request("2")
    evaluate_task.set_cpu_limit("4")
    evaluate_task.set_memory_request("1536Mi")
    evaluate_task.set_memory_limit("4Gi")

    export_model_task = export_model_step(
        card_input_artifact=evaluate_task.outputs["card_output_artifact"],
        contract_input_artifact=evaluate_task.outputs["contract_output_artifact"],
        history_input_artifact=evaluate_task.outputs["history_output_artifact"],
        network_bytes_input_artifact=evaluate_task.outputs["network_bytes_output_artifact"],
        scores_input_artifact=evaluate_task.outputs["scores_output_artifact"],
        data=data,
        frequency=frequency,
        season=season,
        input_length=input_length,
        horizon=horizon,
        minimum_history=minimum_history,
        width=width,
        hour_width=hour_width,
        blocks=blocks,
        dropout=dropout,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        minutes=minutes,
        seed=seed,
        pretrained=pretrained,
        test_windows=test_windows,
        validation_steps=validation_steps,
        gate_margin=gate_margin,
        model_name=model_name,
        model_store=model_store,
        namespace=namespace,
        server_image=server_image,
        seldon_scales=seldon_scales,
        canary_percent=canary_percent,
        canary_minutes=canary_minutes
    )

    security_context.set_security_context(
        task=export_model_task,
        run_as_user=65534,
        run_as_group=0,
        run_as_non_root=True
    )
    export_model_task.set_env_variable(name="HOME", value="/tmp")
    export_model_task.after(evaluate_task)

    export_model_task.set_display_name("export-model-step")

    export_model_task.set_cpu_request("1")
    export_model_task.set_cpu_limit("2")
    export_model_task.set_memory_request("1536Mi")
    export_model_task.set_memory_limit("3Gi")

    deploy_task = deploy_step(
        contract_input_artifact=export_model_task.outputs["contract_output_artifact"],
        model_file_input_artifact=export_model_task.outputs["model_file_output_artifact"],
        data=data,
        frequency=frequency,
        season=season,
        input_length=input_length,
        horizon=horizon,
        minimum_history=minimum_history,
        width=width,
        hour_width=hour_width,
        blocks=blocks,
        dropout=dropout,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        minutes=minutes,
        seed=seed,
        pretrained=pretrained,
        test_windows=test_windows,
        validation_steps=validation_steps,
        gate_margin=gate_margin,
        model_name=model_name,
        model_store=model_store,
        namespace=namespace,
        server_image=server_image,
        seldon_scales=seldon_scales,
        canary_percent=canary_percent,
        canary_minutes=canary_minutes
    )

    security_context.set_security_context(
        task=deploy_task,
        run_as_user=65534,
        run_as_group=0,
        run_as_non_root=True
    )
    deploy_task.set_env_variable(name="HOME", value="/tmp")
    deploy_task.after(export_model_task)

    deploy_task.set_display_name("deploy-step")

    deploy_task.set_caching_options(enable_caching=False)
    use_secret_as_env(task=deploy_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID"})
    use_secret_as_env(task=deploy_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY"})
    use_secret_as_env(task=deploy_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_ENDPOINT_URL": "AWS_ENDPOINT_URL"})
    use_secret_as_env(task=deploy_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_DEFAULT_REGION": "AWS_DEFAULT_REGION"})

    deploy_task.set_cpu_request("250m")
    deploy_task.set_cpu_limit("1")
    deploy_task.set_memory_request("384Mi")
    deploy_task.set_memory_limit("1Gi")
    deploy_task.set_retry(num_retries=2, backoff_duration="30s",
                          backoff_factor=2.0, backoff_max_duration="600s")

    query_task = query_step(
        model_uri_input_artifact=deploy_task.outputs["model_uri_output_artifact"],
        series_input_artifact=evaluate_task.outputs["series_output_artifact"],
        data=data,
        frequency=frequency,
        season=season,
        input_length=input_length,
        horizon=horizon,
        minimum_history=minimum_history,
        width=width,
        hour_width=hour_width,
        blocks=blocks,
        dropout=dropout,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        minutes=minutes,
        seed=seed,
        pretrained=pretrained,
        test_windows=test_windows,
        validation_steps=validation_steps,
        gate_margin=gate_margin,
        model_name=model_name,
        model_store=model_store,
        namespace=namespace,
        server_image=server_image,
        seldon_scales=seldon_scales,
        canary_percent=canary_percent,
        canary_minutes=canary_minutes
    )

    security_context.set_security_context(
        task=query_task,
        run_as_user=65534,
        run_as_group=0,
        run_as_non_root=True
    )
    query_task.set_env_variable(name="HOME", value="/tmp")
    query_task.after(deploy_task)
    query_task.after(evaluate_task)

    query_task.set_display_name("query-step")

    query_task.set_caching_options(enable_caching=False)
    use_secret_as_env(task=query_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID"})
    use_secret_as_env(task=query_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY"})
    use_secret_as_env(task=query_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_ENDPOINT_URL": "AWS_ENDPOINT_URL"})
    use_secret_as_env(task=query_task, secret_name="kalecast-model-store",
                      secret_key_to_env={"AWS_DEFAULT_REGION": "AWS_DEFAULT_REGION"})

    query_task.set_cpu_request("250m")
    query_task.set_cpu_limit("1")
    query_task.set_memory_request("512Mi")
    query_task.set_memory_limit("1Gi")
    query_task.set_retry(num_retries=2, backoff_duration="30s",
                         backoff_factor=2.0, backoff_max_duration="600s")


if __name__ == "__main__":
    from kfp import compiler

    compiler.Compiler().compile(auto_generated_pipeline, "forecast-pipeline.yaml")

    print("Pipeline compiled to forecast-pipeline.yaml")
    print("To run, upload this YAML to your KFP v2 instance or use kfp.Client().create_run_from_pipeline_func.")
