# %% [markdown]
# # From a notebook
#
# The lines below ask everything that the demo's pipeline asks of one layer: what the model carries
# there, which features differ between in vitro and in vivo, whether the prediction uses them, and
# what they are named after. They run on a finished run, in the folder where `petriscope reproduce`
# ran; on two cores they take about a minute. What a cell shows was printed when this page was
# built.

# %%
import petriscope as ps

run = ps.open(".")
run

# %% [markdown]
# `run.model` and `run.inputs` are the probed model and its inputs. A verb takes a fixed, evenly
# spread choice of windows unless `windows=` says which; `seed=` is 0.

# %%
hidden = ps.harvest(run.model, run.inputs, layer=2)
hidden

# %%
sae = ps.train_sae(hidden, latents=192, k=4)
codes = sae.encode(hidden)
codes

# %% [markdown]
# A design says which units are compared, within what, and what is adjusted for.

# %%
design = ps.Design(
    run.units, condition="context", target="in_vivo", strata="lineage", adjust=["depth", "frip"]
)
design.plot()

# %% [markdown]
# The score prints its method, its units, its family of tests and the strongest features.

# %%
score = ps.contrast(codes, design)
score

# %% [markdown]
# Does the prediction use the ten strongest? Chance is what random features do that fire as often.

# %%
cut = ps.ablate(run.model, run.inputs, sae, score.top(10), layer=2)
against = cut.against_random(100)
print(cut.effect())
print(against)

# %%
against.plot()

# %% [markdown]
# How much of the gap to in vivo closes when the difference of means is added?

# %%
toward = ps.difference_of_means(hidden, design)
print(ps.steer(run.model, run.inputs, toward, alpha=0.2, layer=2).gap_closed())

# %% [markdown]
# Which motifs lie where the features fire, against bins of the same GC, accessibility and distance
# to genes?

# %%
enriched = ps.enrich(codes, score.top(10), run.motifs, background=run.strata)
print(enriched.table(top=1))

# %%
enriched.plot()
