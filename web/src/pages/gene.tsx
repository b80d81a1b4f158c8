import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["gene"] ?? ""} />;
}

export const gene: PageOf = { path: "gene", nav: null, title: () => "Gene", Page };
