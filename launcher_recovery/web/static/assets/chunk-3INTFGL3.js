import{F as p,Q as u,e as a,r as o,t as i,x as f}from"./chunk-57MCHSO2.js";var g=["pause","resume","retry","cancel"],h=(e,t)=>a(t==="retry"&&["recovering","pending"].includes(e.state)?"action.now":`action.${t}`),w=(e,t)=>t==="retry"&&e.waiting_for==="breaker"?{force:!0}:{};function q(e,{asking:t,busy:r,press:c}){let l=e.actions??[],s=p(e),d=t&&l.includes("cancel"),m=(n,$,v,b)=>o`<button type="button" class=${v} data-action=${n} ?hidden=${!b}
    aria-disabled=${r?"true":"false"} aria-label=${a("action.on",{action:$,title:s})} @click=${()=>r||c(n)}>${$}</button>`,k=n=>n.key==="Escape"&&c("keep");return o`<div class="actions" data-role="actions" ?hidden=${d||l.length===0}>
${g.map(n=>m(n,h(e,n),n==="cancel"?"quiet":"",l.includes(n)))}
</div>
<div class="confirm" data-role="confirm" role="group" aria-label=${a("action.cancel")} ?hidden=${!d} @keydown=${k}>
${d?o`<p>${a("_w",{title:s})}</p>`:i}
<button type="button" class="danger" data-action="confirm-cancel" aria-disabled=${r?"true":"false"} @click=${()=>r||c("confirm-cancel")}>${a("_x")}</button>
<button type="button" data-action="keep" @click=${()=>c("keep")}>${a("_y")}</button>
</div>`}function x(e,t=u(e)){if(!t||t.percent===null&&e.state!=="in_progress")return i;let{percent:r,keptPercent:c,amount:l}=t,s=r!==null;return o`<div class="track ${s?"":"unknown"}" role="progressbar" aria-valuemin="0" aria-valuemax="100"
    aria-label=${a("_o",{title:p(e)})} aria-valuenow=${s?Math.floor(r):i}
    aria-valuetext=${l||a("_p")} ${f({"--done":`${r??0}%`,"--kept":`${c}%`})}>
<div class="fill"></div><div class="kept"></div></div>`}function N(e){let t=u(e);return t?o`<div class="progress" data-role="progress-block">${x(e,t)}
<p data-role="progress"><span data-part="amount">${t.amount}</span> ${t.kept?o`<span data-part="kept">${t.kept}</span>`:i}</p>
</div>`:i}export{w as a,q as b,x as c,N as d};
