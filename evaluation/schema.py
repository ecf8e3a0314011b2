"""What summary.json holds: the result of one evaluation of one or several runs, as plain data.

An evaluation has policies (each trained with one or several seeds: its runs), conditions (what is
changed in the task, and which lesion the policy has), and the same episodes in all of them. Keys
of conditions are unique and safe to show; the key of the unperturbed, intact one is
`CLEAN_KEY`. A result that does not exist is null: accuracy where the task has no trials,
recovery where a condition has no onset, and so on. All numbers are finite.
"""

from typing import TypedDict

CLEAN_KEY = "clean"
"""Of the condition in which nothing is changed."""


class Estimate(TypedDict):
    """One number, and its 95 % interval; null where that cannot be told."""

    mean: float
    interval: list[float] | None


class Score(TypedDict):
    """One number with its uncertainty, as `judge.statistics` has it.

    Attributes:
        mean: over the runs, each the mean of its episodes; of a ratio or a time, that of the
            returns or reward rates so averaged.
        interquartile_mean: of the runs' own values; of the episodes' where there is one run.
        interval: 95 %, of the mean: over training seeds; over episodes where there is one run.
            Null where it cannot be told: fewer than three of them, or no difference between any.
        by_run: the value of each run, in the order of `training_seeds`; null where it has none,
            as the retention of a run that is no better than random.
    """

    mean: float
    interquartile_mean: float
    interval: list[float] | None
    by_run: list[float | None]


class Settings(TypedDict):
    """What was asked for.

    Attributes:
        env, env_kwargs: the task; env_kwargs as in the clean condition.
        suite: name of the suite; null where only texts were given.
        perturb: texts of perturbations given by themselves.
        lesions: names of the lesions.
        episodes: per condition and run.
        seeds: the first and the last seed of the episodes.
        deterministic: whether actions are the likeliest ones, or sampled.
        horizon: steps of an episode at most.
        own_limit: whether that is the task's own limit; else the evaluation set it.
        horizon_factor: by which the time limit of training was multiplied.
        chance: accuracy of guessing; null where the task has no trials.
        window: steps over which reward rates are averaged.
        teacher: name and seed of a policy that is told the contexts; null where there is none.
        versions: of Python, the packages that matter, the processor and the revision.
        command: the command line.
    """

    env: str
    env_kwargs: dict
    suite: str | None
    perturb: list[str]
    lesions: list[str]
    episodes: int
    seeds: list[int]
    deterministic: bool
    horizon: int
    own_limit: bool
    horizon_factor: int
    chance: float | None
    window: int
    teacher: str | None
    versions: dict[str, str]
    command: list[str]


class PolicySummary(TypedDict):
    """A policy: runs that differ in their training seed alone.

    Attributes:
        training_seeds: one per run.
        runs: folders of the runs, relative to the folder of the evaluation.
        steps_trained: environment steps, one per run.
        steps_planned: those that training was to have, one per run; null where that is not known.
        actor_parameters: learned numbers in the actor.
        perturb: perturbations that it was trained under; null for none.
        previous: whether it observes its previous action and reward.
        random_return: mean return of random actions in the clean condition.
        still_return: that of standing still: actions of zero; null where there is no such thing.
        clean_return: of the intact policy in the clean condition.
        learned: whether the clean return is above both, by an interval over episodes; null where
            that cannot be told.
        dead_seeds: training seeds whose clean return is less than a tenth of the way from the
            random return to that of the best run of the evaluation, whatever its policy.
        training: the mean return of training episodes as progress.csv has it, by run: "final", the
            last one, and "best"; null where there is no progress.csv.
    """

    training_seeds: list[int]
    runs: list[str]
    steps_trained: list[int]
    steps_planned: list[int | None]
    actor_parameters: int
    perturb: str | None
    previous: bool
    random_return: float
    still_return: float | None
    clean_return: Score
    learned: bool | None
    dead_seeds: list[int]
    training: dict[str, list[float | None]]


class ConditionSummary(TypedDict):
    """A condition.

    Attributes:
        key: as in `results`.
        label: name without severity and lesion, for example "heavier"; conditions of one label
            make a severity curve.
        text: of the perturbation; "" for none.
        severity: in [0, 1]; null where the text has a value of its own.
        split: "train" (training may have had it), "held-out" or null.
        onset: first step at which the perturbation acts; null: from the start, or none.
        last_onset: the last step at which it may begin to, where each episode draws its own; else
            the same.
        lesion: its name; null for the intact policy.
        intact: key of the same condition without the lesion; its own key where there is none.
    """

    key: str
    label: str
    text: str
    severity: float | None
    split: str | None
    onset: int | None
    last_onset: int | None
    lesion: str | None
    intact: str


class Recovery(TypedDict):
    """What a change at step t0 of an episode does to the reward per step, averaged over `window`,
    relative to the same episodes without the change.

    An episode that the change ends earns nothing more; one that ends without the change counts
    until then, and windows go as far as half of these run.

    Attributes:
        before: mean over the `window` steps before t0.
        drop: what is missing in the first window, from t0 on.
        left: what is missing in the last window.
        fraction: 1 - left / drop: 1 where all is back, below 0 where more is missing in the end.
            Null where no drop is shown: it has to be a tenth of `before`, and above zero by an
            interval over episodes.
        time: steps from t0 to the end of the first window in which nine tenths of what comes back
            are back. It has no interval. Null where `fraction` is null or below 0.1: nothing came
            back.
    """

    before: Score
    drop: Score
    left: Score
    fraction: Score | None
    time: Score | None


class Curve(TypedDict):
    """A curve over the steps of an episode, with its 95 % interval; null where it has none."""

    step: list[int]
    mean: list[float]
    low: list[float | None]
    high: list[float | None]


class ContextScores(TypedDict):
    """How a policy comes to act as contexts ask for that it has to find out.

    A step after the end of an episode counts as a reward of 0. Settled are steps 100 to 200 since
    a context began, the opening is the first 50.

    Attributes:
        contexts: how many there were in the episodes of a run.
        settled_contexts: those of them that last longer than 100 steps, some of them hardly; what
            is settled is of these.
        reward_rate: reward per step by steps since a context began, in windows of 10 that end
            there.
        opening_rate, settled_rate: reward per step; settled is null where no context lasts so long.
        settled_pace: the settled rate relative to that of random actions (0) and of the teacher
            that is told (1); null without a teacher, or where that one is no better.
        opening_over_off: the opening rate minus that of the same episodes with plasticity off; null
            where those were not asked for.
        time_to_identify: steps until nine tenths of the settled pace are reached, relative to the
            teacher at the same step. It has no interval. Null without a teacher, or where the
            settled pace is below a tenth.
        regained: share of the changes from a context that had been found out, 50 to 75 steps after
            which nine tenths of the reward rate before are back. Null without a teacher, where
            there was no such change, and where the settled pace is below a tenth.
    """

    contexts: int
    settled_contexts: int
    reward_rate: Curve
    opening_rate: Score | None
    settled_rate: Score | None
    settled_pace: Score | None
    opening_over_off: Score | None
    time_to_identify: Score | None
    regained: Score | None


class Adaptation(TypedDict):
    """Of contexts that begin with the episode, and of those that begin within it, if any do."""

    first: ContextScores
    later: ContextScores | None


class Reference(TypedDict):
    """What `ContextScores` says of policies, of random actions or of a teacher.

    Attributes:
        step, mean: the reward rate.
        settled_rate: reward per step.
        regained: of a teacher, what can be expected of a policy: the rewards of one that is told
            change as well, as its gait does. Null of random actions.
    """

    step: list[int]
    mean: list[float]
    settled_rate: float | None
    regained: float | None


# "return" is a keyword
Result = TypedDict(
    "Result",
    {
        "return": Score,
        "retention": Score | None,
        "length": Score,
        "late_accuracy": Score | None,
        "accuracy_by_trial": list[Score] | None,
        "accuracy_rise": Score | None,
        "recovery": Recovery | None,
        "reward_rate": Curve | None,
        "adaptation": Adaptation | None,
    },
)
"""A policy in a condition.

retention = (R - R_random) / (R_clean - R_random), null where the policy is not shown to have
learned anything; late_accuracy is that of the second half of the trials, and accuracy_rise what it
is above that of the first trial that asks, in the same episodes;
reward_rate, the reward per step in windows, is there for the clean condition, lesioned or not,
and for conditions with an onset; adaptation, where there are contexts, takes the place of recovery.
"""


class Severity(TypedDict):
    """Conditions of one label and lesion by severity; severity 0 is the clean condition.

    Attributes:
        label, lesion, split: of these conditions.
        conditions: their keys.
        severity: rising, from 0.
        retention: at each severity.
        area: under the curve of retention, by trapezoids, over the range of severity: the mean
            retention along it.
    """

    label: str
    lesion: str | None
    split: str | None
    conditions: list[str]
    severity: list[float]
    retention: list[Score]
    area: Score


class LesionSummary(TypedDict):
    """What a lesion does in one condition: intact minus lesioned, the same weights and episodes.

    Attributes:
        key: of the lesioned condition in `results`.
        paired_difference: of the return.
        late_accuracy_difference: of the late accuracy.
        probability_of_improvement: that an episode of the intact policy has the higher return
            than the same one of the lesioned (ties count half).
        identical: whether every episode is the same, bit for bit.
    """

    key: str
    paired_difference: Score
    late_accuracy_difference: Score | None
    probability_of_improvement: Score
    identical: bool


class Comparison(TypedDict):
    """Two policies: is a run of `policy` better than one of `other`?

    Attributes:
        measure: "return" (in the clean condition) or "retention" (over all conditions).
        unit: "run" or, where one of the two was trained once, "episode".
        difference: of the means.
        probability_of_improvement: of a run over a run, or an episode over an episode; ties count
            half.
    """

    policy: str
    other: str
    measure: str
    unit: str
    difference: Estimate
    probability_of_improvement: Estimate


class Operations(TypedDict):
    """Arithmetic; a multiply-accumulate is a multiplication and an addition."""

    accumulates: float
    multiply_accumulates: float


class LayerCost(TypedDict):
    """What one layer of an actor does per environment step, and holds; `judge.cost` says how it is
    counted.

    Attributes:
        synapses: synaptic operations, from counted spikes.
        neurons: updates of membrane potentials, filters and gates.
        plasticity: use and update of fast weights, and the traces that drive them.
        neuromodulators: their synapses.
        membrane_updates: potentials updated, at all ticks of the step.
        neuron_count: neurons; 0 where the layer has no activations of its own.
        activation_sparsity: share of activations that are 0; null where there are none.
        parameter_bytes, state_bytes: memory of learned numbers, and of what changes in an episode.
    """

    name: str
    synapses: Operations
    neurons: Operations
    plasticity: Operations
    neuromodulators: Operations
    membrane_updates: float
    neuron_count: float
    activation_sparsity: float | None
    parameter_bytes: float
    state_bytes: float


class Cost(TypedDict):
    """What a policy costs, the mean over its runs, each in one clean episode of `steps` steps.

    Attributes:
        layers: of the actor, from the observation to the action.
        parameter_bytes, state_bytes: of all layers.
        activation_sparsity: share of the neurons' activations that are 0; null without neurons.
    """

    layers: list[LayerCost]
    parameter_bytes: float
    state_bytes: float
    activation_sparsity: float | None
    steps: float


class Skipped(TypedDict):
    """What was left out, and why. `policy` is null where it concerns all of them."""

    condition: str
    policy: str | None
    reason: str


class Summary(TypedDict):
    """The whole file.

    Attributes:
        results: by policy and key of the condition.
        overall: mean retention over the perturbed conditions of a split, by policy, by lesion
            ("intact" for none) and by split ("all", "train", "held-out").
        severity: by policy; intact curves first.
        lesions: by policy, lesion and key of the intact condition.
        comparisons: of each two policies.
        references: by intact condition with contexts: "random" actions and the "teacher", if there
            is one, each by "first" and "later" as in `Adaptation`.
        inside: by policy and by key of the condition (clean, and those with an onset, lesioned
            or not): means over runs and episodes at some steps, {"step": [...], ...}, with
            "fast_weight_norm" (root mean square over synapses), "modulator_mean" and
            "modulator_spread" (over neurons), "firing_rate" (spikes per neuron in the last tick
            of a step). A series that the policy does not have is left out; an MLP has none.
        cost: by policy.
        skipped: conditions and lesions that do not apply.
    """

    settings: Settings
    policies: dict[str, PolicySummary]
    conditions: list[ConditionSummary]
    results: dict[str, dict[str, Result]]
    overall: dict[str, dict[str, dict[str, Score]]]
    severity: dict[str, list[Severity]]
    lesions: dict[str, dict[str, dict[str, LesionSummary]]]
    comparisons: list[Comparison]
    references: dict[str, dict[str, dict[str, Reference | None]]]
    inside: dict[str, dict[str, dict[str, list]]]
    cost: dict[str, Cost]
    skipped: list[Skipped]
