/// The style sheet of the page.
///
/// Colours are told apart by people who see few: blue, orange, green and purple of different lightness, and no meaning is
/// in a colour alone.
enum PageStyle {
    static let text = """
        :root{--ground:#fcfcfa;--card:#fff;--ink:#1f2428;--soft:#5d666f;--faint:#e4e4de;--axis:#8c949c;
        --blue:#2563c9;--orange:#cf6a0a;--green:#12805c;--purple:#8447b8;--cyan:#0e7f96;--pink:#b8377f;--grey:#8d97a1;--red:#c6303e;--stop:#f3b9bf;--area:#d9e2f3}
        @media (prefers-color-scheme:dark){:root{--ground:#14171b;--card:#1b1f25;--ink:#e4e8ec;--soft:#a3adb8;--faint:#30363d;
        --axis:#7c8792;--blue:#6ea8fe;--orange:#f0a04b;--green:#4cc495;--purple:#c79bf2;--cyan:#56c7dc;--pink:#f18fc0;--grey:#8b96a2;--red:#ff7b86;
        --stop:#6d2f38;--area:#25344c}}
        *{box-sizing:border-box}
        html{-webkit-text-size-adjust:100%}
        body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--ground);color:var(--ink);
        font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;overflow-wrap:anywhere}
        h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0 .2rem;text-wrap:balance}
        h2{font-size:1.2rem;margin:0 0 .8rem;line-height:1.3}
        .date{margin:0 0 1rem;color:var(--soft)}
        section{margin:2.2rem 0 0}
        dl{margin:0}dd{margin:0;overflow-wrap:anywhere}
        .conditions{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,14rem),1fr));gap:.3rem 1.5rem;
        padding:.8rem 1rem;background:var(--card);border:1px solid var(--faint);border-radius:.6rem}
        dt{color:var(--soft);font-size:.85rem}
        .meanings{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:.6rem 1.5rem;
        font-size:.92rem}
        .failure{margin:1rem 0 0;padding:.7rem 1rem;border-left:.3rem solid var(--red);background:var(--card)}
        .table{overflow-x:auto;background:var(--card);border:1px solid var(--faint);border-radius:.6rem;padding:.3rem .8rem}
        table{border-collapse:separate;border-spacing:0;width:100%;font-variant-numeric:tabular-nums}
        th,td{padding:.34rem .2rem .34rem .8rem;text-align:right;border-bottom:1px solid var(--faint);white-space:nowrap}
        tbody tr:last-child>*{border-bottom:0}
        th[scope=row]{text-align:left;padding-left:0;font-weight:400;white-space:normal;min-width:7.5rem}
        thead th{vertical-align:bottom}
        .unit{color:var(--soft);font-size:.85em}
        .good{color:var(--green);font-weight:600}.bad{color:var(--red);font-weight:700}
        .remarks,.remark{color:var(--soft);font-size:.9rem}
        .pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem;margin-top:1rem;
        align-items:start}
        figure{margin:0;padding:.8rem;background:var(--card);border:1px solid var(--faint);border-radius:.6rem;min-width:0;
        break-inside:avoid;max-width:30rem}
        figcaption{font-weight:600;margin-bottom:.5rem}
        svg{display:block;width:100%;height:auto;overflow:visible}
        .legend{list-style:none;margin:.6rem 0 0;padding:0;display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.82rem;
        color:var(--soft)}
        .key{display:inline-block;width:.75em;height:.75em;border-radius:.15em;margin-right:.4em}
        svg text{font-family:inherit;fill:var(--ink)}
        svg .label{font-size:11.5px}svg .value{font-size:11.5px;font-variant-numeric:tabular-nums}
        svg .heading{font-size:11px;fill:var(--soft)}svg .mark{font-size:10px;fill:var(--soft)}
        svg .in-phase{font-size:10px;fill:#fff}
        svg .grid{stroke:var(--faint);stroke-width:1}svg .axis{stroke:var(--axis);stroke-width:1}
        svg .line{fill:none;stroke-width:1.8;stroke-linejoin:round}svg .area{stroke:none}
        svg .line.bandwidth{stroke:var(--blue)}svg .line.dirty-rate{stroke:var(--orange)}
        svg .line.remaining{stroke:var(--purple)}svg .area.remaining{fill:var(--area)}
        svg .line.speed{stroke:var(--green)}svg .line.throttle{stroke:var(--grey);stroke-dasharray:4 3}
        svg .stop{fill:var(--stop)}svg .stop-bar{fill:var(--red)}svg .part{fill:var(--grey)}
        svg .normal{fill:var(--blue)}svg .zero{fill:var(--grey)}
        .key.bandwidth,.key.normal{background:var(--blue)}.key.dirty-rate{background:var(--orange)}
        .key.remaining{background:var(--purple)}.key.speed{background:var(--green)}
        .key.throttle,.key.zero{background:var(--grey)}.key.stop{background:var(--stop)}
        svg .row-0{fill:var(--blue)}svg .row-1{fill:var(--orange)}svg .row-2{fill:var(--green)}svg .row-3{fill:var(--purple)}
        svg .row-4{fill:var(--cyan)}svg .row-5{fill:var(--pink)}
        svg .weaker{opacity:.6}
        .key.row-0{background:var(--blue)}.key.row-1{background:var(--orange)}.key.row-2{background:var(--green)}
        .key.row-3{background:var(--purple)}.key.row-4{background:var(--cyan)}.key.row-5{background:var(--pink)}
        svg .phase{fill:#66717c}.key.phase{background:#66717c}
        svg .phase.setup{fill:#98a2ad}.key.phase.setup{background:#98a2ad}
        svg .phase.active{fill:#3568b8}.key.phase.active{background:#3568b8}
        svg .phase.device,svg .phase.pre-switchover{fill:#b3323f}
        .key.phase.device,.key.phase.pre-switchover{background:#b3323f}
        svg .phase.postcopy-active{fill:#b45c06}.key.phase.postcopy-active{background:#b45c06}
        .table th:first-child{position:sticky;left:0;background:var(--card)}
        @media (max-width:34rem){body{padding:.7rem}.table{padding:.2rem .5rem}table{font-size:.8rem}
        th,td{padding:.3rem 0 .3rem .45rem}thead th{white-space:normal}th[scope=row]{min-width:5.2rem}
        thead .key{display:block;margin:0 0 .15rem auto}}
        footer{margin:2.5rem 0 1rem;color:var(--soft);font-size:.85rem}
        @media print{:root{--ground:#fff;--card:#fff;--ink:#000;--soft:#444;--faint:#ccc;--axis:#666;--blue:#2563c9;
        --orange:#cf6a0a;--green:#12805c;--purple:#8447b8;--cyan:#0e7f96;--pink:#b8377f;--grey:#8d97a1;--red:#c6303e;--stop:#f3b9bf;--area:#d9e2f3}
        *{print-color-adjust:exact;-webkit-print-color-adjust:exact}
        @page{margin:10mm 16mm}
        body{max-width:none;padding:0;font-size:9.5pt;line-height:1.4}section{margin:.9rem 0 0}h1{margin-top:0}
        h2{break-after:avoid;margin-bottom:.3rem;font-size:1.05rem}tr,figure,.meanings>div,.failure{break-inside:avoid}
        .table{overflow:visible}.table th:first-child{position:static}th,td{padding-top:.13rem;padding-bottom:.13rem}
        .conditions{grid-template-columns:1fr 1fr 1fr}.pictures{grid-template-columns:1fr 1fr;gap:.5rem;margin-top:.5rem}
        figure{padding:.4rem .5rem;max-width:none}figcaption{margin-bottom:.2rem}.legend{font-size:.7rem;margin-top:.3rem}
        .pictures.of-move{grid-template-columns:1.15fr 1fr;break-inside:avoid}.of-move figure:first-child{grid-row:span 2}.meanings{grid-template-columns:1fr 1fr;gap:.3rem 1.5rem;font-size:.85rem}}

        """
}
